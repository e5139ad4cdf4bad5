"""One step of a service towards what is declared: trim, fill, replace, surge; never a leap.

A replica is one of these:

    staying    of the present generation, and may stay where it is
    outgoing   of an earlier generation, on a node that is drained, or moved for balance's sake
               (rebalance.py): serves until it is replaced
    lost       on a node that is dead: replaced as soon as another node has room, kept until then

Where some are outgoing, one new replica is added on top of the declared number (the surge), and
once all that stay are ready one outgoing goes; its node confirms that it is gone before the next
one is added. Where no node has room for a surge, one outgoing of an earlier generation goes first,
if a new one fits in its place. A new replica that does not become ready stops all that: the
outgoing ones go on serving. A replica on a drained node never goes before its replacement is ready.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tango.algorithms.placement.replicas import Candidate, Choice, ReplicaPlan
from tango.controllers.edge.books import Books
from tango.controllers.edge.candidates import candidates, closed, demand_of
from tango.controllers.edge.service_book import generation_of, ordinal_of, replica_id, specs_of
from tango.model.commands import ServiceRecord
from tango.model.service import ReplicaState


@dataclass(frozen=True, slots=True)
class Step:
    """What the service shall be next; record with older specs that are still needed.

    short: why it cannot be all that is declared, "" if it can. looked: candidates for new places;
    choices: why new replicas go where they go.
    """

    record: ServiceRecord
    placement: tuple[tuple[str, str], ...]
    short: str = ""
    looked: tuple[Candidate, ...] = ()
    choices: tuple[tuple[str, Choice | None], ...] = ()


def step(books: Books, record: ServiceRecord, placement: dict[str, str]) -> Step:
    """The next step of a service that has `placement`; the same placement where nothing is due."""
    return _Rollout(books, record, placement).step()


class _Rollout:
    def __init__(self, books: Books, record: ServiceRecord, placement: dict[str, str]) -> None:
        self._books = books
        self._record = record
        self._spec = record.spec
        self._specs = specs_of(record)
        self._next = record.next_replica
        self._at = dict(placement)
        self._looked: tuple[Candidate, ...] = ()
        self._choices: dict[str, Choice | None] = {}
        self._moving = books.moving.get(record.spec.name, "")
        for name, node in placement.items():
            if not node and generation_of(name) != record.generation:
                del self._at[name]

    def step(self) -> Step:
        trimmed = self._trim()
        short = ""
        if not trimmed and not self._waits_for_leaving():
            grown, short = self._fill()
            if not grown:
                short = self._replace() or short
        kept = {generation_of(name) for name in self._at}
        older = tuple(one for one in self._record.older if one.generation in kept)
        record = replace(self._record, next_replica=self._next, older=older)
        choices = tuple(self._choices.items())
        return Step(record, tuple(self._at.items()), short, self._looked, choices)

    # ---- what they are

    def _ready(self, name: str) -> bool:
        node = self._books.nodes.get(self._at[name])
        status = node.statuses.get(name) if node is not None and node.session is not None else None
        return status is not None and status.state is ReplicaState.READY

    def _lost(self) -> list[str]:
        return [name for name, node in self._at.items() if node and self._books.is_lost(node)]

    def _outgoing(self) -> list[str]:
        return [
            name
            for name, node in self._at.items()
            if node
            and not self._books.is_lost(node)
            and (
                generation_of(name) != self._record.generation
                or self._books.is_draining(node)
                or name == self._moving
            )
        ]

    def _staying(self) -> list[str]:
        others = {*self._lost(), *self._outgoing()}
        return [name for name in self._at if name not in others]

    def _settled(self) -> bool:
        """Whether every replica that stays and has a node is ready."""
        return all(self._ready(name) for name in self._staying() if self._at[name])

    def _waits_for_leaving(self) -> bool:
        """Replicas that went must be gone before others come, where these follow in their place."""
        service = self._spec.name
        return any(
            owner == service and (self._spec.port or generation_of(name) != self._record.generation)
            for node in self._books.sessions.values()
            for name, owner in node.leaving.items()
        )

    # ---- steps

    def _trim(self) -> bool:
        """Drop what is too much: unplaced, lost, unready, outgoing; whether an outgoing went."""
        declared = self._spec.replicas
        surge = bool(declared and self._outgoing() and not self._settled())
        excess = len(self._at) - declared - surge
        if excess <= 0:
            return False
        lost, outgoing = set(self._lost()), set(self._outgoing())
        unready = [n for n in self._staying() if self._at[n] and not self._ready(n)]
        # While a roll waits for new replicas, one of them is enough to see whether they work.
        first_unready = min(unready, key=ordinal_of, default="")

        def worth(name: str) -> tuple[int, int]:
            if not self._at[name]:
                rank = 0
            elif name in lost:
                rank = 1
            elif name in outgoing:
                rank = 4 if self._ready(name) else 2
            elif self._ready(name):
                rank = 6
            else:
                rank = 5 if name == first_unready else 3
            # Of those that go anyway the oldest, of the others the youngest.
            return rank, ordinal_of(name) if name in outgoing else -ordinal_of(name)

        gone = sorted(self._at, key=worth)[:excess]
        for name in gone:
            del self._at[name]
        return not outgoing.isdisjoint(gone)

    def _fill(self) -> tuple[bool, str]:
        """Nodes for those declared, those without a node, and those lost with theirs."""
        missing = max(0, self._spec.replicas - len(self._at))
        for _ in range(missing):
            self._at[self._new_name()] = ""
        homeless = [name for name, node in self._at.items() if not node]
        lost = self._lost()
        wanted = len(homeless) + len(lost)
        if not wanted:
            return False, ""
        plan = self._spread(wanted)
        for index, (node, choice) in enumerate(zip(plan.nodes, plan.choices, strict=True)):
            if index < len(homeless):
                name = homeless[index]
            else:
                del self._at[lost[index - len(homeless)]]
                name = self._new_name()
            self._at[name] = node
            self._choices[name] = choice
        return bool(missing or plan.nodes), plan.reason

    def _replace(self) -> str:
        """Go on with those that are to be replaced, if all the others are well; why it cannot."""
        # What only moves was given its successor when the move began.
        outgoing = [name for name in self._outgoing() if name != self._moving]
        if not outgoing or len(self._at) > self._spec.replicas or not self._settled():
            return ""
        plan = self._spread(1)
        if plan.nodes:
            name = self._new_name()
            self._at[name] = plan.nodes[0]
            self._choices[name] = plan.choices[0]
            return ""
        generation = self._record.generation
        old = [name for name in outgoing if generation_of(name) != generation]
        for name in sorted(old, key=lambda name: (self._ready(name), ordinal_of(name))):
            if self._spread(1, without=name).nodes:
                del self._at[name]
                return ""
        return f"{len(outgoing)} of its replicas cannot be replaced: {plan.reason}"

    def _spread(self, count: int, without: str = "") -> ReplicaPlan:
        """Nodes for new replicas; `without`: as if this one were gone."""
        at = {name: node for name, node in self._at.items() if name != without}
        books = self._books
        plan = books.rule.plan(
            count, demand_of(self._spec), candidates(books, self._spec, self._specs, at),
            closed(books, self._spec),
        )  # fmt: skip
        self._looked = plan.looked
        return plan

    def _new_name(self) -> str:
        name = replica_id(self._spec.name, self._record.generation, self._next)
        self._next += 1
        return name
