"""Settings of all tests: property tests have no time limit a case, machines are busy now and then."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tango", settings.default, deadline=None)
settings.load_profile("tango")
