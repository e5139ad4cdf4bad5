"""Where services have ready replicas, of all sites, for tasks that want to be near to one.

A host comes at once, for being nearer breaks no bound. It goes once its edge has told of no ready
replica there for `linger_s`, so that one that is restarted, or fails a health check, moves nobody;
and at once with its node. Of a node or a site that is away nothing is known: what it had counts on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tango.model.bounds import node_name
from tango.model.cluster import NodeView


class ServiceHosts:
    """By the word of edges. Nodes are named "edge/node"."""

    def __init__(self, linger_s: float) -> None:
        self._linger_s = linger_s
        # By edge, of (service, node): since when no replica is ready there, None while one is.
        self._missing: dict[str, dict[tuple[str, str], float | None]] = {}
        self._nodes: dict[str, set[str]] = {}
        # By edge, what it told last where nothing was missing then: told again, it changes nothing.
        self._settled: dict[str, list[tuple[str, bool, bool, tuple[str, ...]]]] = {}
        self._changed: set[str] = set()

    def told(self, edge: str, views: Iterable[NodeView], now: float) -> None:
        """An edge told its nodes."""
        said = [(view.node, view.ready, view.dead, view.services) for view in views]
        if self._settled.get(edge) == said:
            return
        missing = self._missing.setdefault(edge, {})
        ready: set[tuple[str, str]] = set()
        away: set[str] = set()
        dead: set[str] = set()
        for node, is_ready, is_dead, services in said:
            name = node_name(edge, node)
            if is_ready:
                ready.update((service, name) for service in services)
            else:
                (dead if is_dead else away).add(name)
        for service, name in ready - missing.keys():
            missing[service, name] = None
            self._nodes.setdefault(service, set()).add(name)
            self._changed.add(service)
        for key, since in list(missing.items()):
            if key in ready or key[1] in away:
                missing[key] = None
            elif key[1] in dead or (since is not None and now - since >= self._linger_s):
                del missing[key]
                self._drop(*key)
            elif since is None:
                missing[key] = now
        if all(since is None for since in missing.values()):
            self._settled[edge] = said
        else:
            self._settled.pop(edge, None)

    def hosts(self, service: str) -> tuple[str, ...]:
        """The nodes that count, by name."""
        return tuple(sorted(self._nodes.get(service, ())))

    def missing(self, service: str) -> str:
        """Why nothing can be near to the service, "" where something can."""
        if service in self._nodes:
            return ""
        meant = difflib.get_close_matches(service, sorted(self._nodes), 1)
        hint = f"; did you mean {meant[0]!r}?" if meant else ""
        return f"no service {service!r} has a ready replica{hint}"

    def take_changed(self) -> set[str]:
        """Services that have other hosts than when this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def _drop(self, service: str, name: str) -> None:
        nodes = self._nodes[service]
        nodes.remove(name)
        if not nodes:
            del self._nodes[service]
        self._changed.add(service)
