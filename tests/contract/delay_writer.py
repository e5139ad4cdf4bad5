"""A child process that stores every event of a delay sequence, and says so once it is on disk.

Run as: delay_writer.py DATABASE SEED. Its parent kills it.
"""

from __future__ import annotations

import asyncio
import sys

from delay_sequence import steps

from tango.adapters.sqlite_store import SqliteStore


async def main() -> None:
    store = await SqliteStore.open(sys.argv[1])
    for number, (_, writes) in enumerate(steps(int(sys.argv[2]))):
        await store.commit(writes)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


asyncio.run(main())
