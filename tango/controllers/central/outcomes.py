"""What became of a migration, in words that are stored with its task."""

from __future__ import annotations

from tango.model.job import Migration


def outcome(migration: Migration) -> str:
    """Of a migration whose attempt runs, at its target or back at its source."""
    if migration.back:
        went_on = f"it went on at {migration.from_node} of {migration.from_edge}"
        return f"{not_moved(migration, migration.back)}; {went_on}"
    return (
        f"migrated with its state from {migration.from_node} of {migration.from_edge} "
        f"to {migration.to_node} of {migration.to_edge}"
    )


def not_moved(migration: Migration, why: str) -> str:
    """Of one that did not get to its target."""
    return f"not migrated to {migration.to_node} of {migration.to_edge}: {why}"
