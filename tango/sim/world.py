"""A scenario's world: hosts, links, machines, users and failures, put together on one engine."""

from __future__ import annotations

import functools
import random
from dataclasses import replace

from tango.adapters.policies import batch_policy, traffic_policy
from tango.adapters.replica_rules import installed
from tango.model.service import QuotaMode, ServiceSpec
from tango.model.settings import DecisionSettings, EdgeSettings, PeerSettings
from tango.sim.engine import Lanes
from tango.sim.failures import Failures
from tango.sim.hosts import CentralHost, EdgeHost, NodeHost, Surroundings
from tango.sim.job_users import JobTally, Submitter
from tango.sim.loads import RequestLoad, SimService, TraceLoad
from tango.sim.log import RING, DecisionLog
from tango.sim.machine import Machine
from tango.sim.network import Jitter, Link
from tango.sim.scenario import Scenario
from tango.sim.shell import Controller
from tango.sim.tally import Tally
from tango.sim.topology import CENTRAL, NodeShape, Site, SiteDelays
from tango.sim.users import Desk, Sender, Stream, Trace, Users

# Nodes start within so long: their reports do not all come at the same moment.
BOOT_S = 0.1
# Services are declared once the nodes are there, or the first one would get all replicas.
APPLY_AT_S = 0.5
# Of the engine's windows; below the first, messages between sites take no less than that.
SHORTEST_WINDOW_S, LONGEST_WINDOW_S = 0.0005, 0.02
# Of the shortest delay: sums of times are rounded.
DELAY_SHARE = 0.999


class World:
    """Everything that is simulated. starts_at: virtual time at which the load begins."""

    def __init__(self, scenario: Scenario, log: DecisionLog | None, *, check: bool) -> None:
        self.scenario = scenario
        self.starts_at = scenario.settle_s
        forgets = log.write if log is not None else _nobody
        around = Surroundings(scenario.costs, scenario.seed, forgets, check=check)
        self._around = around
        self._log = log
        self._decisions = DecisionSettings(ring=RING if log is not None else 0)
        self.services = {one.spec.name: self._adjusted(one) for one in scenario.services}
        counts_from = self.starts_at + scenario.warmup_s
        self.tally = Tally(self.services, self.starts_at, counts_from)
        self.job_tally = JobTally()
        self.problems: list[str] = []
        delays = scenario.topology.delays
        self._jitter = Jitter.drawn(delays.jitter, around.rng("jitter"))
        self.engine = Lanes(_window(scenario, self._jitter.least))
        self.links: dict[frozenset[str], Link] = {}
        settings = replace(
            scenario.central, batch_policy=scenario.policies.batch, decisions=self._decisions
        )
        policy = batch_policy(scenario.policies.batch, settings.placement)
        # Before all sites in each window, so that what goes to several sites is never too late.
        self._senders = self.engine.lane()
        lane = self.engine.lane()
        self.central = CentralHost(around, lane, settings, policy, self.job_tally.changed)
        self.edges: dict[str, EdgeHost] = {}
        self.nodes: dict[str, NodeHost] = {}
        self._build_sites()
        self._keep_log()
        self.users = Users(self.tally, delays.user_edge_s, self.starts_at)
        self._streams = self._build_users()
        self.submitters = self._build_submitters()
        failures = Failures(
            around,
            self.engine.common,
            scenario.topology,
            self.central,
            self.edges,
            self.nodes,
            self.links,
            self.starts_at,
        )
        for index, failure in enumerate(scenario.failures):
            failures.plan(index, failure)

    def begin(self) -> None:
        """Start all daemons, declare the services, plan the first of each load."""
        self.central.start()
        for edge in self.edges.values():
            edge.start()
            edge.engine.at(APPLY_AT_S, self._declare, edge)
        for node in self.nodes.values():
            boot_s = self._around.rng("boot", node.name).uniform(0, BOOT_S)
            node.engine.at(boot_s, node.start)
        for stream in (*self._streams, *self.submitters):
            stream.begin()

    def note_unready(self) -> None:
        """Say which services lack replicas as the load begins."""
        for site, edge in self.edges.items():
            for view in edge.life.controller.service_views() if edge.life is not None else ():
                if view.ready < view.spec.replicas:
                    ready = f"{view.ready} of {view.spec.replicas} replicas ready"
                    self.problems.append(f"{view.spec.name} at {site}: {ready}: {view.reason}")

    def _declare(self, edge: EdgeHost) -> None:
        edge.apply(self._specs_at(edge.name), self.problems.append)

    def stop_loads(self) -> None:
        """Nothing more is sent."""
        self.users.stopped = True
        for submitter in self.submitters:
            submitter.stopped = True

    # ---- building

    def _adjusted(self, service: SimService) -> SimService:
        follow = self.scenario.policies.follow_quota
        if follow is None:
            return service
        mode = QuotaMode.FOLLOW if follow else QuotaMode.NONE
        return replace(service, spec=replace(service.spec, quota=mode))

    def _specs_at(self, site: str) -> list[ServiceSpec]:
        specs = []
        for service in self.services.values():
            if not service.sites or site in service.sites:
                count = dict(service.replicas).get(site, service.spec.replicas)
                specs.append(replace(service.spec, replicas=count))
        return specs

    def _sites_of(self, service: str) -> tuple[str, ...]:
        return self.services[service].sites or tuple(self.edges)

    def _link(self, a: str, b: str, delay_s: float) -> Link:
        ends = frozenset((a, b))
        link = self.links.get(ends)
        if link is None:
            keepalive_s = self.scenario.costs.keepalive_s
            jitter = None
            if self.scenario.topology.delays.jitter:
                jitter = self._jitter_of(*sorted(ends))
            link = self.links[ends] = Link(self.engine.common, delay_s, jitter, keepalive_s)
        return link

    def _jitter_of(self, *names: object) -> Jitter:
        return self._jitter.another(self._around.rng("jitter", *names))

    def _build_sites(self) -> None:
        topology = self.scenario.topology
        delays = SiteDelays(topology)
        forwarding = self.scenario.policies.forwarding
        count = (topology.peers or topology.neighbours) if forwarding else 0
        peers = {site.name: delays.nearest(site.name, count) for site in topology.sites}
        for site in topology.sites:
            upward = self._link(site.name, CENTRAL, topology.delays.edge_central_s)
            settings = self._edge_settings(site.name, peers[site.name])
            policy = traffic_policy(settings.traffic_policy)
            self.edges[site.name] = EdgeHost(
                self._around, self.engine.lane(), settings, policy, self.central, upward
            )
        for site in topology.sites:
            host = self.edges[site.name]
            for peer in peers[site.name]:
                link = self._link(site.name, peer, delays.between(site.name, peer))
                host.peers.append((peer, link, self.edges[peer]))
            for node in site.nodes:
                self.nodes[node.name] = self._node(site, node)

    def _edge_settings(self, name: str, peers: list[str]) -> EdgeSettings:
        scenario = self.scenario
        template, policies = scenario.edge, scenario.policies
        rule = template.reassurance
        if policies.reassurance is not None:
            rule = replace(rule, enabled=policies.reassurance)
        return replace(
            template,
            name=name,
            central=CENTRAL,
            traffic_policy=policies.traffic,
            peers=tuple(PeerSettings(peer, peer) for peer in peers),
            neighbours=scenario.topology.neighbours,
            reassurance=rule,
            placement=installed(template.placement),
            decisions=self._decisions,
        )

    def _node(self, site: Site, node: NodeShape) -> NodeHost:
        scenario = self.scenario
        settings = replace(
            scenario.worker,
            node=node.name,
            edge=site.name,
            cpu_millis=node.cpu_millis,
            memory_bytes=node.memory_bytes,
            decisions=self._decisions,
        )
        memory = node.machine_memory_bytes or node.memory_bytes + settings.memory_reserve_bytes
        edge = self.edges[site.name]
        machine = Machine(
            edge.engine,
            node.cpu_millis,
            memory,
            self.services,
            cap_period_us=node.cap_period_us,
        )
        link = self._link(site.name, node.name, scenario.topology.delays.edge_worker_s)
        return NodeHost(self._around, edge.engine, settings, machine, edge, link)

    def _build_users(self) -> list[Stream | Trace]:
        streams: list[Stream | Trace] = []
        desks = {
            name: Desk(edge, self._jitter_of("answers", name)) for name, edge in self.edges.items()
        }
        for index, load in enumerate(self.scenario.loads):
            rng = self._around.rng("load", index)
            if isinstance(load, TraceLoad):
                work = self._around.rng("work", index)
                requests = load.source(rng)
                streams.append(
                    Trace(
                        Sender(self.users, f"u{index}", self._jitter_of("users", index)),
                        self._senders,
                        requests,
                        self.services,
                        desks,
                        work,
                    )
                )
                continue
            sites = load.sites or self._sites_of(load.service)
            if load.each:
                for site in sites:
                    own = self._around.rng("load", index, site)
                    sender = Sender(
                        self.users, f"u{index}-{site}", self._jitter_of("users", index, site)
                    )
                    streams.append(self._stream(sender, load, [desks[site]], own))
            else:
                sender = Sender(self.users, f"u{index}", self._jitter_of("users", index))
                streams.append(self._stream(sender, load, [desks[site] for site in sites], rng))
        return streams

    def _stream(
        self, sender: Sender, load: RequestLoad, desks: list[Desk], rng: random.Random
    ) -> Stream:
        engine = desks[0].engine if len(desks) == 1 else self._senders
        return Stream(sender, engine, load, self.services[load.service], desks, rng)

    def _build_submitters(self) -> list[Submitter]:
        return [
            Submitter(
                self.central,
                self.job_tally,
                load,
                self.starts_at,
                chr(ord("a") + index % 26),
                self._around.rng("jobs", index),
            )
            for index, load in enumerate(self.scenario.jobs)
        ]

    def _keep_log(self) -> None:
        if self._log is None:
            return
        hosts: list[tuple[str, CentralHost | EdgeHost | NodeHost]] = [(CENTRAL, self.central)]
        for site in self.scenario.topology.sites:
            hosts.append((f"edge {site.name}", self.edges[site.name]))
            hosts += [(f"worker {node.name}", self.nodes[node.name]) for node in site.nodes]
        for name, host in hosts:
            self._log.add(name, functools.partial(_controller, host))


def _controller(host: CentralHost | EdgeHost | NodeHost) -> Controller | None:
    return host.life.controller if host.life is not None else None


def _window(scenario: Scenario, least: float) -> float:
    """The longest window in which no message goes from one site to another and arrives."""
    topology = scenario.topology
    delays = SiteDelays(topology)
    ways = [topology.delays.edge_central_s]
    for site in topology.sites if scenario.policies.forwarding else ():
        ways += [delays.between(site.name, other) for other in delays.nearest(site.name, 1)]
    return min(LONGEST_WINDOW_S, max(SHORTEST_WINDOW_S, DELAY_SHARE * least * min(ways)))


def _nobody(name: str, controller: Controller) -> None:
    """No log is kept."""
