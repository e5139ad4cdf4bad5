"""Errors that people see: each names the field, where it stands, and what to do."""

from __future__ import annotations


class TangoError(Exception):
    """Root of every error that Tango raises on purpose."""


class InvalidField(TangoError):
    """One field of a configuration, a manifest or a request is wrong.

    `where` is "file:line" where the field came from a file, else empty.
    """

    def __init__(self, field: str, problem: str, fix: str = "", where: str = "") -> None:
        self.field = field
        self.problem = problem
        self.fix = fix
        self.where = where
        place = f"{where}: " if where else ""
        remedy = f"; {fix}" if fix else ""
        super().__init__(f"{place}{field}: {problem}{remedy}")

    def at(self, where: str, prefix: str = "") -> InvalidField:
        """The same error with its place in a file, the field under `prefix`."""
        field = f"{prefix}.{self.field}" if prefix and self.field else prefix or self.field
        return InvalidField(field, self.problem, self.fix, where)


class NotFound(TangoError):
    """The named service, job, node or edge does not exist."""


class AlreadyExists(TangoError):
    """The name is taken by something else."""


class Unavailable(TangoError):
    """The other side cannot be reached now; trying again later may help."""


class ResourceExhausted(Unavailable):
    """The other side has as much to do as it takes; trying again later may help."""


class Refused(TangoError):
    """The other side understood and said no (wrong token, wrong role)."""


class FailedPrecondition(Refused):
    """It may be asked for, but not as things stand; trying again helps once they have changed."""
