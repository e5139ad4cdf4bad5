"""A child process that commits job records for ever, and prints each key once it is acknowledged.

Run as: store_writer.py DATABASE N_TASKS. Its parent kills it.
"""

from __future__ import annotations

import asyncio
import sys

from store_records import job

from tango.adapters.sqlite_store import SqliteStore
from tango.model.commands import Put


async def write(store: SqliteStore, writer: int) -> None:
    n = 0
    while True:
        key = f"{writer}-{n}"
        await store.commit([Put("job", key, job(key)), Put("again", f"{writer}", job(key))])
        sys.stdout.write(f"{key}\n")
        sys.stdout.flush()
        n += 1


async def main() -> None:
    store = await SqliteStore.open(sys.argv[1])
    async with asyncio.TaskGroup() as group:
        for writer in range(int(sys.argv[2])):
            group.create_task(write(store, writer))


asyncio.run(main())
