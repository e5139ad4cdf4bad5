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
from tango.sim.edge_sessions import GuestSession
from tango.sim.engine import Engine
from tango.sim.master import Master, ignore
from tango.sim.network import Dialler, End
from tango.sim.scenario import Costs
from tango.sim.sessions import Sessions, greet
from tango.sim.shell import Shell
from tango.sim.store import Store

Waiter = Callable[[CallReply, float], None]
"""Takes a call's answer, and when it leaves this edge."""


class Edge(Master):
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
        super().__init__(engine, store, costs)
        # As numbers of its own, for they are read with each request.
        self._request_s, self._answer_s = costs.edge_request_s, costs.edge_answer_s
        self._solve_s, self._solve_unit_s = (
            costs.traffic_solve.base_s,
            costs.traffic_solve.per_unit_s,
        )
        self._policy = policy
        self._policy_name = policy.name
        self._workers, self._peers, self._guests = Sessions(self), Sessions(self), Sessions(self)
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
                cmd.SendWorker: self._workers.send,
                cmd.Solve: self._solve,
                p.SendPeer: self._peers.send,
                p.SendGuest: self._guests.send,
                cmd.SendCentral: self._send_central,
                cmd.Persist: self._persist,
                cmd.Answer: self._answer,
                cmd.CloseWorker: self._workers.close,
                p.ClosePeer: self._peers.close,
                p.CloseGuest: self._guests.close,
                cmd.ServiceChanged: ignore,
                cmd.SendRoutes: ignore,
                cmd.Note: ignore,
            },
            check=check,
        )
        self._waiters: dict[str, Waiter] = {}
        self._central: tuple[int, End] | None = None
        self._central_dials = itertools.count(1)
        self._peer_dials: dict[str, int] = {}
        self._diallers: list[Dialler] = []

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
        for accepted in (self._workers, self._guests):
            accepted.vanish(silent=silent)
        return list(self._waiters.values())

    # ---- users

    def call(self, request: CallRequest, waiter: Waiter) -> None:
        """A user's call is here."""
        self.shell.work(self._request_s)
        self._waiters[request.request_id] = waiter
        self.shell.post(ev.CallArrived(request))

    def _reply(self, command: cmd.Reply) -> None:
        reply = command.reply
        waiter = self._waiters.pop(reply.request_id, None)
        if waiter is not None:
            waiter(reply, self.shell.leaves_at())

    # ---- solves

    def _solve(self, command: cmd.Solve) -> None:
        snapshot = cast("TrafficSnapshot", command.snapshot)
        units = len(snapshot.demands) * len(snapshot.offers)
        cost_s = self._solve_s + self._solve_unit_s * units
        begins_at = self.shell.leaves_at()
        self.shell.work(cost_s)
        plan = self._policy.route(snapshot)
        solved = ev.RouteSolved(command.solve_id, plan, cost_s, self._policy_name)
        self.shell.later(begins_at + cost_s, solved)

    # ---- workers

    def accept_worker(self, end: End) -> bool:
        """A worker has dialled."""

        def begins(session: int, hello: msg.WorkerHello, state: msg.WorkerState) -> None:
            self._workers.add(session, end)
            self.shell.post(ev.WorkerUp(session, hello, state, "127.0.0.1"))

        greet(
            end, msg.WorkerHello, msg.WorkerState, self.number, begins, self._worker_said,
            self._worker_down,
        )  # fmt: skip
        return True

    def _worker_said(self, session: int, message: object) -> None:
        if type(message) is msg.RequestsDone:
            self.shell.work(self._answer_s * len(message.done))
        self.shell.post(ev.WorkerSaid(session, message))  # type: ignore[arg-type]

    def _worker_down(self, session: int, reason: str) -> None:
        if self._workers.drop(session):
            self.shell.later(self._engine.now, ev.WorkerDown(session, reason))

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
        session = self.number()
        self._peers.add(session, end)

        def receive(message: object) -> None:
            if type(message) is p.PeerWelcome:
                self.shell.post(p.PeerUp(session, peer, message))
                return
            if type(message) is p.ForwardReplies:
                self.shell.work(self._answer_s * len(message.replies))
            self.shell.post(p.PeerSaid(session, cast("p.ToPeer", message)))

        def ended(reason: str) -> None:
            self._peers.drop(session)
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
        self._guests.add(session, end)
        self.shell.post(p.GuestUp(session, hello))

    def guest_down(self, session: int, reason: str) -> None:
        """Its stream ended."""
        self._guests.drop(session)
        self.shell.later(self._engine.now, p.GuestDown(session, reason))

    def is_pending(self, request_id: str) -> bool:
        """Whether a call of that id awaits its answer."""
        return request_id in self._waiters

    def cancel(self, request_id: str) -> None:
        """Nobody waits for it any more."""
        if self._waiters.pop(request_id, None) is not None:
            self.shell.post(ev.CallCancelled(request_id))
