"""What tasks with bounds and backups ask for, in the words of the rule that places them."""

from __future__ import annotations

from tango.controllers.central.bound_nodes import BoundNodes
from tango.controllers.central.service_hosts import ServiceHosts
from tango.model.bounds import ANYWHERE, node_name, service_reference, task_name
from tango.model.job import JobRecord, Near
from tango.model.placements import PodRecord, RequirementRecord, TolerationRecord


class Wants:
    """By the nodes and services of now."""

    def __init__(self, nodes: BoundNodes, hosts: ServiceHosts) -> None:
        self._nodes = nodes
        self._hosts = hosts

    def unknown(self, record: JobRecord, index: int) -> str:
        """Why the node or service that a task wants to be near to is none that is known; "" if it
        is."""
        near = record.spec.tasks[index].near
        if near is not None and near.service:
            return self._hosts.missing(near.service)
        if near is None or not near.node:
            return ""
        found = self._nodes.full(near.node)
        if len(found) == 1:
            return ""
        if found:
            return f"several sites have a node {near.node}: write {' or '.join(found)}"
        return f"no node is named {near.node}"

    def pod(self, record: JobRecord, index: int) -> PodRecord:
        """All that it asks for, by the names of here."""
        spec = record.spec.tasks[index]
        near, within_s = ANYWHERE, None
        if spec.near is not None:
            within_s = spec.near.within_s
            near = self._reference(record, spec.near)
        return PodRecord(
            task_name(record.job_id, index),
            spec.cpu_millis,
            spec.memory_bytes,
            spec.cores,
            ports=spec.ports,
            near=near,
            bound_s=within_s,
            node=self._only(spec.node),
            requires=tuple(
                RequirementRecord(one.key, one.operator, one.values) for one in spec.requires
            ),
            tolerations=tuple(
                TolerationRecord(one.key, one.value, one.effect) for one in spec.tolerations
            ),
            priority=record.spec.priority,
            protected=spec.backup,
        )

    def _only(self, node: str) -> str:
        """The node that alone will do, with its site where only one has such a node."""
        found = self._nodes.full(node) if node else ()
        return found[0] if len(found) == 1 else node

    def _reference(self, record: JobRecord, near: Near) -> str:
        if near.service:
            return service_reference(near.service)
        if near.node:
            found = self._nodes.full(near.node)
            return found[0] if len(found) == 1 else near.node
        index = next(i for i, spec in enumerate(record.spec.tasks) if spec.name == near.task)
        reference = record.tasks[index]
        if reference.state.ended and reference.node:
            return node_name(reference.edge, reference.node)
        return task_name(record.job_id, index)
