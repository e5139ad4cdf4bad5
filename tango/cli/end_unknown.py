"""What `submit --wait` and `watch job` say where the central master stays away: no job failed."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tango.cli.notes import note
from tango.model.errors import Unavailable

# Not 1, a failed job's, after which a script may submit again; nor 2, click's for wrong usage.
END_UNKNOWN = 3


def tell_end_unknown(error: Unavailable, job_ids: Sequence[str]) -> int:
    """Say why, and for each job that it goes on; the exit status."""
    note(str(error))
    for job_id in job_ids:
        click.echo(
            f"job {job_id} goes on, and how it ends is not known here; `tango watch job {job_id}` "
            f"waits for its end, `tango cancel {job_id}` ends it",
            err=True,
        )
    return END_UNKNOWN
