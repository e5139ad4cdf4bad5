"""Who runs where in an embedded cluster: names, shares of the machine, configuration files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tango.model.affinity import Labels, Taint, Taints
from tango.model.cores import format_cores
from tango.model.errors import InvalidField
from tango.model.label_rules import check_labels, check_taints, parse_taint
from tango.model.units import format_cpu

DEFAULT_RESERVE_MILLIS = 700
SMALLEST_NODE_MILLIS = 100
DEFAULT_SHARES = 1024
# Of a decision log beside a recording: as much as that may take, in one file.
LOG_MAX = "256Mi"
CHECKPOINTS = "checkpoints"
SITE_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One embedded node. cpuset: its own cores, "" where it shares them by weight.

    task_cores: those that tasks there may have for themselves. Where nodes share cores each core is
    one node's only, and nodes beyond the number of cores have none.
    """

    name: str
    site: str
    cpu_millis: int
    memory_bytes: int
    cpuset: str
    task_cores: str = ""
    labels: Labels = ()
    taints: Taints = ()


@dataclass(frozen=True, slots=True)
class EmbeddedPlan:
    """The whole embedded cluster. by: "cpuset" or "weight"."""

    sites: tuple[str, ...]
    nodes: tuple[NodePlan, ...]
    by: str
    weight: int


def plan_nodes(
    *,
    sites: int,
    workers_per_site: int,
    cores: Sequence[int],
    memory_bytes: int,
    reserve_millis: int = DEFAULT_RESERVE_MILLIS,
) -> EmbeddedPlan:
    """Divide the machine, less the reserve, evenly among the nodes.

    cores: ids of the cores we may use. Nodes get whole cores of their own where there are at least
    one for each and the reserve's; else they share all by weight, and cpu_millis is what each may
    count on. weight: of the nodes' common group against everything else on the machine (cgroup v2
    scale, 100 being one ordinary process). memory_bytes: what is available; nodes get 3/4 of it.
    """
    if not 1 <= sites <= len(SITE_LETTERS):
        raise InvalidField("sites", f"{sites} is out of range", "use 1 to 26")
    if not 1 <= workers_per_site <= 16:
        raise InvalidField("workers", f"{workers_per_site} is out of range", "use 1 to 16")
    names = tuple(f"site-{SITE_LETTERS[index]}" for index in range(sites))
    count = sites * workers_per_site
    available = len(cores) * 1000 - reserve_millis
    share = available // count
    if share < SMALLEST_NODE_MILLIS:
        raise InvalidField(
            "reserve",
            f"{format_cpu(reserve_millis)} of {len(cores)} cores is too much for {count} nodes",
            "lower the reserve, or start fewer sites or workers",
        )
    reserved_cores = -(-reserve_millis // 1000)
    per_node = (len(cores) - reserved_cores) // count
    nodes = []
    for index in range(count):
        site = names[index // workers_per_site]
        number = index % workers_per_site + 1
        own = cores[reserved_cores + index * per_node : reserved_cores + (index + 1) * per_node]
        nodes.append(
            NodePlan(
                name=f"{site.removeprefix('site-')}{number}",
                site=site,
                cpu_millis=per_node * 1000 if per_node else share,
                memory_bytes=memory_bytes * 3 // 4 // count,
                cpuset=",".join(str(core) for core in own),
                task_cores=format_cores(own or cores[index::count]) or "none",
            )
        )
    weight = max(1, min(10_000, available // 10))
    return EmbeddedPlan(names, tuple(nodes), "cpuset" if per_node else "weight", weight)


def marked(plan: EmbeddedPlan, labels: Sequence[str], taints: Sequence[str]) -> EmbeddedPlan:
    """The plan with "NODE:KEY=VALUE" as labels, and "NODE:KEY=VALUE:EFFECT" as taints.

    Raises InvalidField, naming the option.
    """
    names = [node.name for node in plan.nodes]
    of_labels: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    of_taints: dict[str, list[Taint]] = {name: [] for name in names}
    for text in labels:
        node, pair = _node_and(text, names, "--label", "NODE:KEY=VALUE")
        key, _, value = pair.partition("=")
        of_labels[node].append((key, value))
    for text in taints:
        node, taint = _node_and(text, names, "--taint", "NODE:KEY=VALUE:NoSchedule")
        of_taints[node].append(parse_taint(taint, "--taint"))
    for name in names:
        check_labels(tuple(of_labels[name]), "--label")
        check_taints(tuple(of_taints[name]), "--taint")
    nodes = tuple(
        replace(
            node, labels=tuple(sorted(of_labels[node.name])), taints=tuple(of_taints[node.name])
        )
        for node in plan.nodes
    )
    return replace(plan, nodes=nodes)


def _node_and(text: str, names: Sequence[str], option: str, form: str) -> tuple[str, str]:
    node, colon, rest = text.partition(":")
    if not colon or not rest:
        raise InvalidField(option, f"{text!r} is not {form}", f"such as {names[0]}:zone=west")
    if node not in names:
        raise InvalidField(option, f"no node is named {node!r}", f"there are: {', '.join(names)}")
    return node, rest


def central_toml(
    state: Path, port: int, metrics_port: int, batch_policy: str = "", rest: str = ""
) -> str:
    """configuration of the central master

    batch_policy: "" for the default one. rest: where its REST face listens, "" for none.
    """
    face = f'rest = "{rest}"\n' if rest else ""
    named = f'batch_policy = "{batch_policy}"\n' if batch_policy else ""
    return _server(state / "central", port, metrics_port, state) + f"{face}\n[central]\n{named}"


def edge_toml(
    state: Path,
    site: str,
    port: int,
    metrics_port: int,
    central: str,
    peers: Mapping[str, str] | None = None,
) -> str:
    """configuration of one site's edge master. peers: name -> address of the other sites"""
    tables = "".join(
        f'\n[[edge.peers]]\nname = "{name}"\naddress = "{address}"\n'
        for name, address in (peers or {}).items()
    )
    return (
        _server(state / site, port, metrics_port, state)
        + f'\n[edge]\nname = "{site}"\ncentral = "{central}"\n{tables}'
    )


def worker_toml(
    state: Path, node: NodePlan, port: int, metrics_port: int, edge: str, cgroup_root: str
) -> str:
    """configuration of one node's worker"""
    # Where cores are shared by weight, BE of each node yields to LC of all of them.
    cores = f'cpuset = "{node.cpuset}"' if node.cpuset else f'be_root = "{cgroup_root}/be"'
    return (
        _server(state / f"node-{node.name}", port, metrics_port, state)
        + f'\n[worker]\nnode = "{node.name}"\nedge = "{edge}"\n'
        + f'cpu = "{format_cpu(node.cpu_millis)}"\nmemory = "{node.memory_bytes}"\n'
        + f'cgroup_root = "{cgroup_root}/{node.name}"\n{cores}\n'
        + f'task_cores = "{node.task_cores}"\n'
        # All nodes are this machine's, so tasks may move between them where CRIU works.
        + f'checkpoint_dir = "{state / CHECKPOINTS}"\n'
        # An embedded cluster runs what its own user gives it, as that user.
        + "allow_root = true\n"
        + _marks_toml(node)
    )


def _marks_toml(node: NodePlan) -> str:
    """Labels and taints: of keys and values that need no escapes."""
    taints = ", ".join(f'"{taint.text}"' for taint in node.taints)
    labels = "".join(f'"{key}" = "{value}"\n' for key, value in node.labels)
    return (f"taints = [{taints}]\n" if taints else "") + (
        f"\n[worker.labels]\n{labels}" if labels else ""
    )


def _server(directory: Path, port: int, metrics_port: int, state: Path) -> str:
    return (
        f'[server]\nlisten = "127.0.0.1:{port}"\nmetrics = "127.0.0.1:{metrics_port}"\n'
        f'state_dir = "{directory}"\ntoken_file = "{state / "token"}"\n'
    )


def journal_toml(record: Path, kind: str, name: str) -> str:
    """tables for a daemon that records itself and logs its decisions in that directory"""
    daemon = kind if kind == name else f"{kind}-{name.removeprefix('node-')}"
    return (
        f'\n[record]\ndir = "{record}"\n'
        f'\n[decisions]\nlog = "{record / daemon}.decisions.jsonl"\nlog_max = "{LOG_MAX}"\n'
    )
