"""Placeholders and the pods that they cover survive a restart, in each store, and a kill -9."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import pytest
from delay_sequence import PLUGINS, PROFILE, books, delays, state, steps

from tango.adapters.memory_store import MemoryStore
from tango.adapters.records import decode, encode
from tango.adapters.sqlite_store import SqliteStore
from tango.algorithms.placement.cluster import Cluster
from tango.algorithms.placement.delay_books import UNPROTECTED, WAITS
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_records import BOUND, RESERVATION, BoundJournal
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.commands import Delete
from tango.model.errors import InvalidField
from tango.model.placements import BoundRecord, PodRecord, RequirementRecord, ReservationRecord
from tango.ports import Store

Reopen = Callable[[Store | None], Awaitable[Store]]
HERE = Path(__file__).parent


@pytest.fixture(params=["memory", "sqlite"])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reopen]:
    """Opens the store, and again what was open: a restart, as far as memory knows one."""
    opened: list[Store] = []

    async def again(before: Store | None) -> Store:
        if request.param == "memory":
            store: Store = before or MemoryStore()
        else:
            if before is not None:
                await before.close()
            store = await SqliteStore.open(tmp_path / "store.db")
        opened.append(store)
        return store

    yield again
    for store in opened:
        await store.close()


async def resumed(store: Store, here: DelayBound | None = None) -> tuple[DelayBound, BoundJournal]:
    here = here or books()
    journal = BoundJournal(here)
    journal.resume(
        cast("dict[str, BoundRecord]", await store.load(BOUND)),
        cast("dict[str, ReservationRecord]", await store.load(RESERVATION)),
    )
    return here, journal


def check_invariant(here: DelayBound) -> None:
    for host, size in here.placeholders.sizes.items():
        assert here.placeholders.required(host) == size
        assert here.placeholders.covered(host)


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_event_a_restart_finds_the_same_reservations(
    reopen: Reopen, seed: int
) -> None:
    store = await reopen(None)
    n_reserved = 0
    for number, (here, writes) in enumerate(islice(steps(seed), 40)):
        await store.commit(writes)
        if number % 4:
            continue
        store = await reopen(store)
        after, journal = await resumed(store)
        assert state(after) == state(here)
        assert journal.writes() == ()
        check_invariant(after)
        n_reserved += len(after.placeholders.sizes)
    assert n_reserved > 5, "the sequence made placeholders"


async def test_what_was_resumed_goes_on_as_the_books_that_never_stopped(reopen: Reopen) -> None:
    store = await reopen(None)
    here = books()
    journal = BoundJournal(here)
    for number in range(8):
        near = f"n{number % 6}"
        here.schedule(Pod(f"p{number}", memory_bytes=3, cores=1, near=near, bound_s=0.6))
        await store.commit(journal.writes())
    store = await reopen(store)
    after, later = await resumed(store)
    assert after.fail(["n0", "n3"]) == here.fail(["n0", "n3"])
    assert later.writes() == journal.writes() != ()
    assert state(after) == state(here)


async def test_a_reservation_is_not_given_to_others_after_a_restart(reopen: Reopen) -> None:
    store = await reopen(None)
    here = books()
    journal = BoundJournal(here)
    one = here.schedule(Pod("a", memory_bytes=10, near="n0", bound_s=9.0)).bound
    await store.commit(journal.writes())
    assert sorted(await store.load(RESERVATION)) == [one.backup]
    after, _ = await resumed(await reopen(store))
    host = after.room.index_of(one.backup)
    greedy = Pod("b", memory_bytes=int(after.room.cluster.memory[host]) - 9)
    assert after.room.lack(greedy, host) == "memory"
    after.fail([one.node])
    assert after.bound["a"].node == one.backup


async def test_only_what_changed_is_written(reopen: Reopen) -> None:
    store = await reopen(None)
    here = books()
    journal = BoundJournal(here)
    for number in range(4):
        here.schedule(Pod(f"p{number}", memory_bytes=2, near="n0", bound_s=9.0))
    await store.commit(journal.writes())
    assert journal.writes() == ()
    here.delete("p0")
    writes = journal.writes()
    assert Delete(BOUND, "p0") in writes
    assert {write.key for write in writes if write.kind == BOUND} == {"p0"}
    for name in ("p1", "p2", "p3"):
        here.delete(name)
    await store.commit((*writes, *journal.writes()))
    assert await store.load(BOUND) == {}
    assert await store.load(RESERVATION) == {}


async def test_a_node_that_is_gone_or_smaller_after_the_restart(reopen: Reopen) -> None:
    store = await reopen(None)
    here = books()
    journal = BoundJournal(here)
    for number in range(3):
        here.schedule(Pod(f"p{number}", memory_bytes=10, near="n0", bound_s=9.0))
    await store.commit(journal.writes())
    where = {name: (one.node, one.backup) for name, one in here.bound.items()}
    [host] = {backup for _, backup in where.values()}
    gone = where["p1"][0]
    store = await reopen(store)
    rows = [
        replace(row, memory_bytes=4 if row.name == host else row.memory_bytes)
        for row in here.room.cluster.nodes
        if row.name != gone
    ]
    room = Room(Cluster(rows))
    smaller = DelayBound(Placer(room, PROFILE, PLUGINS))
    after, later = await resumed(store, smaller)
    assert (after.bound["p1"].node, after.bound["p1"].warning) == ("", WAITS)
    assert after.bound["p0"].warning == UNPROTECTED
    assert after.placeholders.sizes == {}
    written = {(write.kind, write.key): write for write in later.writes()}
    assert written[RESERVATION, host] == Delete(RESERVATION, host)
    assert written.keys() >= {(BOUND, "p0"), (BOUND, "p1")}
    check_invariant(after)


async def test_running_pods_stay_where_the_nodes_say_that_they_are(reopen: Reopen) -> None:
    store = await reopen(None)
    here = books()
    journal = BoundJournal(here)
    one = here.schedule(Pod("a", memory_bytes=2, cores=1, near="n0", bound_s=9.0)).bound
    await store.commit(journal.writes())
    store = await reopen(store)
    after = books()
    after.room.take(
        Pod("a", memory_bytes=2, cores=1, near="n0", bound_s=9.0), after.room.index_of(one.backup)
    )
    after, _ = await resumed(store, after)
    assert after.bound["a"] == replace(one, node=one.backup, backup="", warning=UNPROTECTED)
    assert after.placeholders.sizes == {}, "it covers nothing of its own host"


# ---- the records themselves


def test_records_of_an_earlier_version_take_the_defaults_of_new_fields() -> None:
    text = '{"type":"BoundRecord","record":{"pod":{"name":"a","near":"n0"},"node":"n1"}}'
    assert decode(text) == BoundRecord(PodRecord("a", near="n0"), "n1")
    text = '{"type":"ReservationRecord","record":{"node":"n1","cpu_millis":1,"memory_bytes":2}}'
    assert decode(text) == ReservationRecord("n1", 1, 2)
    assert decode(encode(ReservationRecord("n1", 1, 2, (0, 3)))) == ReservationRecord(
        "n1", 1, 2, (0, 3)
    )


def test_a_store_of_a_version_without_placeholders_is_an_empty_one() -> None:
    journal = BoundJournal(books())
    assert journal.resume({}, {}) == ()
    assert journal.writes() == ()


def test_a_record_that_no_version_writes_is_refused() -> None:
    journal = BoundJournal(books())
    wrong = PodRecord("a", requires=(RequirementRecord("k", "Resembles"),))
    with pytest.raises(InvalidField, match=r"affinity.operator: 'Resembles' is unknown"):
        journal.resume({"a": BoundRecord(wrong)}, {})


# ---- kill -9


@pytest.mark.parametrize("seed", [11, 12])
async def test_after_kill_9_the_books_are_those_of_the_last_acknowledged_event_or_the_next(
    tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "store.db"
    command = [sys.executable, str(HERE / "delay_writer.py"), str(path), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline() for _ in range(60)]
        child.send_signal(signal.SIGKILL)
        acknowledged += child.stdout.read().splitlines()
    last = max(int(line) for line in acknowledged)
    states = [state(here) for here, _ in islice(steps(seed), last + 2)]
    store = await SqliteStore.open(path)
    after, journal = await resumed(store)
    await store.close()
    assert state(after) in states[last:]
    reserved = [bool(json.loads(each)[1]) for each in states]
    assert sum(reserved) > 0.5 * len(reserved), "there were placeholders to keep"
    assert journal.writes() == ()
    check_invariant(after)
    after.delays_changed(delays(5))
    after.fail(["n1", "n2"])
    check_invariant(after)
