"""Settings of all tests, and why a test that passed was run more than once."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Property tests have no time limit a case, as machines may be busy.
settings.register_profile("tango", settings.default, deadline=None)
settings.load_profile("tango")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what a first try failed for: pytest-rerunfailures names the test alone."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"first try of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
