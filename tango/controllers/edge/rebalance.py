"""Balance: a node that joined, returned or is in service again gets replicas from the others.

Nothing moves by itself but in a round, which begins once nodes have been quiet for a while. It
looks at one service after another: where the rule of placement, with one replica taken away, would
rather have it on another node, a successor is placed there; the replica goes when that is ready
(rollout.py treats it as outgoing), so there are never fewer than before. What was placed in a round
does not move again in it: it ends after at most one move of each replica, whatever the scores do.

A round is not stored. After a restart of the edge the surplus successor goes, and nodes that dial
in begin another one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from tango.algorithms.placement.replicas import Candidate, Choice
from tango.controllers.edge.books import Books
from tango.controllers.edge.candidates import candidates, closed, demand_of
from tango.controllers.edge.deployment import plan_move, unsettled
from tango.controllers.edge.service_book import ServiceBook, generation_of, ordinal_of
from tango.controllers.edge.services import Services
from tango.model.decision import REPLICA_MOVE, REPLICA_MOVE_END
from tango.model.service import ReplicaState

# Between two services that are looked at: a plan over a large site takes milliseconds.
LOOK_GAP_S: Final = 0.02
# While moves are under way, or services that change by themselves are waited for.
CHECK_S: Final = 0.5
# So long nothing moved, and services that are not settled keep a round from its end no more.
GIVE_UP_S: Final = 120.0
# Of a service's nodes, the fullest are looked at; each takes a millisecond.
MAX_HOSTS: Final = 2
# Two scores that differ by less are the same.
SAME: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Move:
    """A replica that goes when its successor is ready. due_at: that has time until then."""

    replica: str
    successor: str
    node: str
    due_at: float


@dataclass(slots=True)
class Round:
    """why: what it is about, for people. begins_at: nodes have been quiet by then.

    changed_at: when a move began or ended. placed: replicas that came in it. left: services to be
    looked at; waits: those that were not settled. gave_up: those that are left alone.
    """

    why: str
    begins_at: float
    changed_at: float
    placed: set[str]
    left: list[str]
    waits: set[str] = field(default_factory=set)
    gave_up: set[str] = field(default_factory=set)


class Rebalance:
    """At most one round at a time. due_at: when to look next, infinite for never."""

    def __init__(self, books: Books, services: Services) -> None:
        self._books = books
        self._services = services
        self._rule = books.settings.rebalance
        self._round: Round | None = None
        self._moves: dict[str, Move] = {}
        self.due_at = math.inf

    def joined(self, node: str, what: str, now: float) -> None:
        """The node may take replicas that it could not take before: a round begins, or again."""
        if not self._rule.enabled:
            return
        at = now + self._rule.settle_s
        on_the_way = {move.successor for move in self._moves.values()}
        self._round = Round(f"node {node} {what}", at, at, on_the_way, self._names())
        self.due_at = now + CHECK_S if self._moves else at

    def settle(self, now: float) -> None:
        """See to the moves under way, and look for the next one."""
        self.due_at = math.inf
        round_ = self._round
        if round_ is None:
            return
        for name, move in list(self._moves.items()):
            self._follow(name, move, round_, now)
        if now < round_.begins_at:
            self.due_at = min(now + CHECK_S, round_.begins_at) if self._moves else round_.begins_at
            return
        looked = False
        while round_.left and not looked and len(self._moves) < self._rule.max_moves:
            looked = self._look(round_.left.pop(0), round_, now)
        if self._moves:
            full = len(self._moves) >= self._rule.max_moves or not round_.left
            self.due_at = now + (CHECK_S if full else LOOK_GAP_S)
        elif round_.left:
            self.due_at = now + LOOK_GAP_S
        elif round_.waits and now < round_.changed_at + GIVE_UP_S:
            round_.left, round_.waits = sorted(round_.waits), set()
            self.due_at = now + CHECK_S
        else:
            self._round = None

    # ---- moves

    def _follow(self, name: str, move: Move, round_: Round, now: float) -> None:
        """A move has ended, or goes on, or is given up."""
        service = self._books.services.get(name)
        placement = service.placement if service is not None else {}
        why = ""
        if move.replica not in placement:
            pass
        elif self._services.is_busy(name):
            return
        elif generation_of(move.replica) != (service.generation if service else 0):
            why = "the service has changed"
        elif move.successor not in placement:
            why = f"{move.successor} did not stay"
        elif now < move.due_at:
            return
        else:
            why = f"{move.successor} is not ready after {self._rule.patience_s:g} s"
        del self._moves[name]
        self._books.moving.pop(name, None)
        # All scores are others now.
        round_.left, round_.changed_at = self._names(), max(now, round_.changed_at)
        round_.waits.clear()
        if why:
            round_.gave_up.add(name)
            self._books.decisions.record(
                REPLICA_MOVE_END, now, name, move.replica, move.node, why
            )  # fmt: skip
            self._services.place_soon(now, 0.0)

    def _look(self, name: str, round_: Round, now: float) -> bool:
        """Move one replica of the service if that helps; whether it was worth a look."""
        books = self._books
        service = books.services.get(name)
        if service is None or name in round_.gave_up or name in self._moves:
            return False
        movable = [one for one in service.placement if one not in round_.placed]
        if not movable:
            return False
        if self._services.is_busy(name) or unsettled(books, service) or not _ready(books, service):
            round_.waits.add(name)
            return False
        best: tuple[float, str, str, _Better] | None = None
        for host in _hosts(books, service, movable):
            replica = max(
                (one for one in movable if service.placement[one] == host), key=ordinal_of
            )
            better = self._better(service, replica, host)
            if better is not None and (best is None or better.gain > best[0] + SAME):
                best = better.gain, replica, host, better
        if best is not None:
            _, replica, host, better = best
            self._begin(service, replica, host, better, round_, now)
        return True

    def _begin(
        self,
        service: ServiceBook,
        replica: str,
        host: str,
        better: _Better,
        round_: Round,
        now: float,
    ) -> None:
        books, name = self._books, service.name
        change, successor = plan_move(books, service, better.node, better.choice, better.looked)
        self._moves[name] = Move(replica, successor, host, now + self._rule.patience_s)
        books.moving[name] = replica
        round_.placed.add(successor)
        round_.changed_at = now
        books.decisions.record(
            REPLICA_MOVE, now, name, replica, host, successor, better.node, better.score,
            better.score_there, round_.why,
        )  # fmt: skip
        self._services.begin(change)

    def _better(self, service: ServiceBook, replica: str, host: str) -> _Better | None:
        """A node that the rule prefers by enough, as if the replica were gone; None for none."""
        books, spec = self._books, service.spec
        at = {name: node for name, node in service.placement.items() if name != replica}
        nodes = candidates(books, spec, service.specs, at)
        demand = demand_of(spec)
        plan = books.rule.plan(1, demand, nodes, closed(books, spec))
        if not plan.nodes or plan.nodes[0] == host:
            return None
        scores = books.rule.scores(demand, nodes)
        there = plan.nodes[0]
        if host not in scores:
            # The node takes nothing new: what it has stays.
            return None
        gain = scores[there] - scores[host]
        count = {node.node: node.replicas for node in nodes}
        # The replica itself is not counted.
        fewer = count[host] + 1 >= count[there] + 2
        if gain <= SAME or (gain < self._rule.min_gain and not fewer):
            return None
        return _Better(there, gain, scores[host], scores[there], plan.choices[0], plan.looked)

    def _names(self) -> list[str]:
        return sorted(self._books.services)


@dataclass(frozen=True, slots=True)
class _Better:
    node: str
    gain: float
    score: float
    score_there: float
    choice: Choice | None
    looked: tuple[Candidate, ...]


def _hosts(books: Books, service: ServiceBook, movable: list[str]) -> list[str]:
    """Nodes with replicas that may move: those with the most of all first, then the fullest."""
    count: dict[str, int] = {}
    for node in service.placement.values():
        count[node] = count.get(node, 0) + 1

    def rank(name: str) -> tuple[int, float, str]:
        node = books.nodes[name]
        return -count[name], -node.replica_memory_bytes / max(1, node.memory_bytes), name

    return sorted({service.placement[name] for name in movable}, key=rank)[:MAX_HOSTS]


def _ready(books: Books, service: ServiceBook) -> bool:
    """Whether all its replicas are ready: moving one must not hide what is wrong with another."""
    for replica, where in service.placement.items():
        node = books.nodes.get(where)
        status = node.statuses.get(replica) if node is not None and node.session else None
        if status is None or status.state is not ReplicaState.READY:
            return False
    return True
