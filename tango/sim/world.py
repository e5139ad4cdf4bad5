"""A scenario's world: hosts, links, machines, users and failures, put together on one engine."""

from __future__ import annotations

import functools
import random
from dataclasses import replace

from tango.adapters.policies import batch_policy, traffic_policy
from tango.model.service import QuotaMode, ServiceSpec
from tango.model.settings import DecisionSettings, EdgeSettings, PeerSettings
from tango.sim.engine import Engine
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
from tango.sim.users import Desk, Stream, Trace, Users

# Nodes start within so long: their reports do not all come at the same moment.
BOOT_S = 0.1


class World:
    """Everything that is simulated. starts_at: virtual time at which the load begins."""

    def __init__(self, scenario: Scenario, log: DecisionLog | None, *, check: bool) -> None:
        self.scenario = scenario
        self.engine = Engine()
        self.starts_at = scenario.settle_s
        around = Surroundings(self.engine, scenario.costs, scenario.seed, check=check)
        self._around = around
        self._log = log
        self._decisions = DecisionSettings(ring=RING if log is not None else 0)
        if log is not None:
            around.forgets = log.write
        self.services = {one.spec.name: self._adjusted(one) for one in scenario.services}
        counts_from = self.starts_at + scenario.warmup_s
        self.tally = Tally(self.services, self.starts_at, counts_from)
        self.job_tally = JobTally()
        self.problems: list[str] = []
        delays = scenario.topology.delays
        self._jitter = Jitter(delays.jitter, around.rng("jitter")) if delays.jitter else None
        self.links: dict[frozenset[str], Link] = {}
        settings = replace(
            scenario.central, batch_policy=scenario.policies.batch, decisions=self._decisions
        )
        policy = batch_policy(scenario.policies.batch)
        self.central = CentralHost(around, settings, policy, self.job_tally.changed)
        self.edges: dict[str, EdgeHost] = {}
        self.nodes: dict[str, NodeHost] = {}
        self._build_sites()
        self._keep_log()
        user_jitter = Jitter(delays.jitter, around.rng("user jitter"))
        self.users = Users(self.engine, self.tally, delays.user_edge_s, user_jitter, self.starts_at)
        self._streams = self._build_users()
        self.submitters = self._build_submitters()
        failures = Failures(
            around,
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
        for name, edge in self.edges.items():
            edge.apply(self._specs_at(name), self.problems.append)
        for node in self.nodes.values():
            boot_s = self._around.rng("boot", node.name).uniform(0, BOOT_S)
            self.engine.at(boot_s, node.start)
        for stream in (*self._streams, *self.submitters):
            stream.begin()

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
            link = self.links[ends] = Link(self.engine, delay_s, self._jitter, keepalive_s)
        return link

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
            self.edges[site.name] = EdgeHost(self._around, settings, policy, self.central, upward)
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
        machine = Machine(self.engine, node.cpu_millis, memory, self.services)
        link = self._link(site.name, node.name, scenario.topology.delays.edge_worker_s)
        return NodeHost(self._around, settings, machine, self.edges[site.name], link)

    def _build_users(self) -> list[Stream | Trace]:
        streams: list[Stream | Trace] = []
        desks: dict[str, Desk] = dict(self.edges)
        for index, load in enumerate(self.scenario.loads):
            rng = self._around.rng("load", index)
            if isinstance(load, TraceLoad):
                work = self._around.rng("work", index)
                requests = load.source(rng)
                streams.append(Trace(self.users, requests, self.services, desks, work))
                continue
            sites = load.sites or self._sites_of(load.service)
            if load.each:
                for site in sites:
                    own = self._around.rng("load", index, site)
                    streams.append(self._stream(load, [desks[site]], own))
            else:
                streams.append(self._stream(load, [desks[site] for site in sites], rng))
        return streams

    def _stream(self, load: RequestLoad, desks: list[Desk], rng: random.Random) -> Stream:
        return Stream(self.users, load, self.services[load.service], desks, rng)

    def _build_submitters(self) -> list[Submitter]:
        return [
            Submitter(
                self.engine,
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
