"""What must hold of the books on bounds and backups after every event; tests check it each time."""

from __future__ import annotations

from tango.controllers.central.bound_books import BoundBooks
from tango.controllers.central.bound_facts import Facts
from tango.controllers.central.bound_store import BoundStore
from tango.controllers.central.core import Core
from tango.controllers.central.jobs import ACTIVE
from tango.model.bounds import NOTHING, node_name, size_of, task_name


def check(core: Core, facts: Facts, store: BoundStore) -> None:
    """Raise AssertionError naming the first contradiction. Linear in tasks and nodes."""
    books = facts.books
    fresh = BoundBooks()
    for name, task in books.tasks.items():
        fresh.put(name, task)
    for node, record in store.reservations.items():
        assert record.node == node
        fresh.resize(node, size_of(record))
    assert fresh.sizes == books.sizes, f"{books.sizes} is kept, {fresh.sizes} is stored"
    assert fresh.uneasy == books.uneasy
    for node in fresh.nodes() | books.nodes():
        assert fresh.holds(node) == books.holds(node), node
        assert fresh.claims(node) == books.claims(node), node
        assert fresh.required(node) == books.required(node), node
        edge, _, bare = node.partition("/")
        reserved = core.sites.site(edge).reserved.get(bare, NOTHING)
        assert reserved == books.claims(node), f"{node} keeps {books.claims(node)}: {reserved}"
        assert fresh.held_ports(node) == books.held_ports(node), node
        assert fresh.claimed_ports(node) == books.claimed_ports(node), node
        ports = core.sites.site(edge).reserved_ports.get(bare, frozenset())
        assert ports == books.claimed_ports(node), f"{node} keeps ports {ports}"
    for name, task in books.tasks.items():
        kept = store.bound.get(name)
        assert (name in facts.adjusted) == (kept != task.bound), f"{name} is {task}, kept is {kept}"
    for job in core.batch.bound_jobs.values():
        for index, task_record in enumerate(job.record.tasks):
            if task_record.state not in ACTIVE:
                continue
            known = books.tasks.get(task_name(job.record.job_id, index))
            assert known is not None, f"{task_record.attempt_id} is not in the books"
            assert known.at == node_name(task_record.edge, task_record.node)
    for row in facts.nodes.all():
        if facts.nodes.current(row.name):
            assert row == facts.nodes.made(row.name), f"{row} is stale"
