"""An edge master on virtual time: its sessions, its users' calls, its store and its solves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import cast

from tango import __version__
from tango.adapters.replica_rules import replica_rule
from tango.controllers.edge import EdgeController
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model import messages as msg
from tango.model import peers as p
from tango.model.commands import NodeRecord, PlacementRecord, ServiceRecord
from tango.model.plan import TrafficPolicy, TrafficSnapshot
from tango.model.request import CallReply, CallRequest
from tango.model.settings import EdgeSettings
from tango.sim.edge_sessions import GuestSession, WorkerSession
from tango.sim.engine import Engine
from tango.sim.network import Dialler, End
from tango.sim.scenario import Costs
from tango.sim.shell import Shell
from tango.sim.store import Store

Waiter = Callable[[CallReply, float], None]
"""Takes a call's answer, and when it leaves this edge."""


class Edge:
    """One life of an edge's process."""

    def __init__(
        self,
        engine: Engine,
        settings: EdgeSettings,
        policy: TrafficPolicy,
        store: Store,
        costs: Costs,
        *,
        incarnation: int,
        seed: int,
        check: bool,
    ) -> None:
        self._engine = engine
        self._costs = costs
        self._policy = policy
        self._store = store
        self.name = settings.name
        self.incarnation = incarnation
        self.controller = EdgeController(
            settings, incarnation=incarnation, seed=seed, rule=replica_rule(settings.placement)
        )
        self.shell = Shell(
            engine,
            self.controller,
            {
                cmd.Reply: self._reply,
                cmd.SendWorker: self._send_worker,
                cmd.Solve: self._solve,
                p.SendPeer: self._send_peer,
                p.SendGuest: self._send_guest,
                cmd.SendCentral: self._send_central,
                cmd.Persist: self._persist,
                cmd.Answer: self._answer,
                cmd.CloseWorker: self._close_worker,
                p.ClosePeer: self._close_peer,
                p.CloseGuest: self._close_guest,
                cmd.ServiceChanged: _ignore,
                cmd.SendRoutes: _ignore,
                cmd.Note: _ignore,
            },
            check=check,
        )
        self._ids = itertools.count(1)
        self._waiters: dict[str, Waiter] = {}
        self._workers: dict[int, End] = {}
        self._peers: dict[int, End] = {}
        self._guests: dict[int, End] = {}
        self._central: tuple[int, End] | None = None
        self._central_dials = itertools.count(1)
        self._peer_dials: dict[str, int] = {}
        self._diallers: list[Dialler] = []
        self.answers: dict[int, Callable[[Exception | None], None]] = {}

    # ---- its life

    def load(self) -> None:
        """What the store holds."""
        self.controller.load(
            self._store.load("service", ServiceRecord),
            self._store.load("placement", PlacementRecord),
            self._store.load("node", NodeRecord),
        )

    def begin(self, diallers: Sequence[Dialler]) -> None:
        """Serve, and dial the upper side and the peers."""
        self._diallers = list(diallers)
        for dialler in diallers:
            dialler.dial()

    def die(self, *, silent: bool) -> list[Waiter]:
        """kill -9: its streams break. Who waited for answers; silent: the machine is off."""
        self.shell.close()
        for dialler in self._diallers:
            dialler.stop(silent=silent)
        for ends in (self._workers, self._guests):
            for end in list(ends.values()):
                end.stream.vanish(end, silent=silent)
        return list(self._waiters.values())

    def operate(
        self, event_of: Callable[[int], object], done: Callable[[Exception | None], None]
    ) -> None:
        """An operator's request; done is told of its error, or None."""
        op_id = next(self._ids)
        self.answers[op_id] = done
        self.shell.post(event_of(op_id))

    # ---- users

    def call(self, request: CallRequest, waiter: Waiter) -> None:
        """A user's call is here."""
        self.shell.work(self._costs.edge_request_s)
        self._waiters[request.request_id] = waiter
        self.shell.post(ev.CallArrived(request))

    def _reply(self, command: cmd.Reply) -> None:
        reply = command.reply
        waiter = self._waiters.pop(reply.request_id, None)
        if waiter is not None:
            waiter(reply, self.shell.leaves_at())

    def _answer(self, command: cmd.Answer) -> None:
        done = self.answers.pop(command.op_id, None)
        if done is not None:
            done(command.error)

    # ---- solves, store

    def _solve(self, command: cmd.Solve) -> None:
        snapshot = cast("TrafficSnapshot", command.snapshot)
        cost = self._costs.traffic_solve
        cost_s = cost.base_s + cost.per_unit_s * len(snapshot.demands) * len(snapshot.offers)
        begins_at = self.shell.leaves_at()
        self.shell.work(cost_s)
        plan = self._policy.route(snapshot)
        solved = ev.RouteSolved(command.solve_id, plan, cost_s, self._policy.name)
        self.shell.later(begins_at + cost_s, solved)

    def _persist(self, command: cmd.Persist) -> None:
        self._store.commit(command, self._persisted)

    def _persisted(self, number: int) -> None:
        self.shell.post(ev.Persisted(number))

    # ---- workers

    def accept_worker(self, end: End) -> bool:
        """A worker has dialled."""
        WorkerSession(self, end, self._costs.edge_answer_s)
        return True

    def worker_up(self, session: int, end: End, event: ev.WorkerUp) -> None:
        """It has said hello and its state."""
        self._workers[session] = end
        self.shell.post(event)

    def worker_down(self, session: int, reason: str) -> None:
        """Its stream ended."""
        if self._workers.pop(session, None) is not None:
            self.shell.later(self._engine.now, ev.WorkerDown(session, reason))

    def number(self) -> int:
        """The next session's."""
        return next(self._ids)

    def _send_worker(self, command: cmd.SendWorker) -> None:
        end = self._workers.get(command.session)
        if end is not None:
            end.send(command.message, self.shell.leaves_at())

    def _close_worker(self, command: cmd.CloseWorker) -> None:
        end = self._workers.get(command.session)
        if end is not None:
            end.close(command.reason)

    # ---- the central master

    def central_opened(self, end: End) -> None:
        """The stream to the central master is there."""
        number = next(self._central_dials)
        self._central = (number, end)

        def ended(reason: str) -> None:
            self._central = None
            self.shell.post(ev.CentralDown(number, reason))

        end.ended = ended
        end.receive = lambda message: self.shell.post(
            ev.CentralSaid(number, cast("msg.ToEdge", message))
        )
        hello = msg.EdgeHello(self.name, self.incarnation, "", __version__, number)
        end.send(hello, self.shell.leaves_at())
        self.shell.post(ev.CentralUp(number))

    def _send_central(self, command: cmd.SendCentral) -> None:
        if self._central is not None and self._central[0] == command.session:
            self._central[1].send(command.message, self.shell.leaves_at())

    # ---- other sites

    def peer_opened(self, peer: str, end: End) -> None:
        """The stream to a peer is there: say hello."""
        session = next(self._ids)
        self._peers[session] = end

        def receive(message: object) -> None:
            if type(message) is p.PeerWelcome:
                self.shell.post(p.PeerUp(session, peer, message))
                return
            if type(message) is p.ForwardReplies:
                self.shell.work(self._costs.edge_answer_s * len(message.replies))
            self.shell.post(p.PeerSaid(session, cast("p.ToPeer", message)))

        def ended(reason: str) -> None:
            self._peers.pop(session, None)
            self.shell.later(self._engine.now, p.PeerDown(session, reason))

        end.receive, end.ended = receive, ended
        dial = self._peer_dials[peer] = self._peer_dials.get(peer, 0) + 1
        end.send(
            p.PeerHello(self.name, self.incarnation, __version__, dial), self.shell.leaves_at()
        )

    def accept_guest(self, end: End) -> bool:
        """Another site has dialled."""
        GuestSession(self, end)
        return True

    def guest_up(self, session: int, end: End, hello: p.PeerHello) -> None:
        """It has said hello."""
        self._guests[session] = end
        self.shell.post(p.GuestUp(session, hello))

    def guest_down(self, session: int, reason: str) -> None:
        """Its stream ended."""
        self._guests.pop(session, None)
        self.shell.later(self._engine.now, p.GuestDown(session, reason))

    def is_pending(self, request_id: str) -> bool:
        """Whether a call of that id awaits its answer."""
        return request_id in self._waiters

    def cancel(self, request_id: str) -> None:
        """Nobody waits for it any more."""
        if self._waiters.pop(request_id, None) is not None:
            self.shell.post(ev.CallCancelled(request_id))

    def _send_peer(self, command: p.SendPeer) -> None:
        end = self._peers.get(command.session)
        if end is not None:
            end.send(command.message, self.shell.leaves_at())

    def _send_guest(self, command: p.SendGuest) -> None:
        end = self._guests.get(command.session)
        if end is not None:
            end.send(command.message, self.shell.leaves_at())

    def _close_peer(self, command: p.ClosePeer) -> None:
        end = self._peers.get(command.session)
        if end is not None:
            end.close(command.reason)

    def _close_guest(self, command: p.CloseGuest) -> None:
        end = self._guests.get(command.session)
        if end is not None:
            end.close(command.reason)


def _ignore(_: object) -> None:
    """A log line, or news for watchers: nobody reads it here."""
