"""Settings of all tests: property tests have no time limit a case, as machines may be busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tango", settings.default, deadline=None)
settings.load_profile("tango")
