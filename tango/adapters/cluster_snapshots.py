"""Snapshots of a cluster as files: JSON, or YAML for what people write; strict, and versioned."""

from __future__ import annotations

import enum
import json
from pathlib import Path

from tango.adapters.documents import Section, read_document
from tango.adapters.json_documents import load_json
from tango.adapters.node_terms import Row, read_taint
from tango.adapters.placement_pods import (
    pod_row,
    read_image,
    read_images,
    read_pod,
)
from tango.adapters.yaml_documents import parse_yaml
from tango.algorithms.placement.cluster import ImageRow, NodeRow
from tango.algorithms.placement.cluster_snapshot import (
    ClusterSnapshot,
    Placed,
    Reservation,
    RoundTrips,
)
from tango.model.cores import MAX_CORES
from tango.model.errors import InvalidField
from tango.model.fixed_ports import MAX_PORT
from tango.model.image import check_digest
from tango.model.units import format_cpu

KIND = "ClusterSnapshot"
VERSION = 1
MAX_MS = 86_400_000.0
MAX_LAYER_BYTES = 2**50


class _Between(enum.Enum):
    NODES = "nodes"
    SITES = "sites"


def load_snapshot(path: Path | str) -> ClusterSnapshot:
    """The snapshot of a .json file, or of any other as YAML (1 MiB; JSON may have 64 MiB).

    Its `room()` raises nothing: all is checked here. Raises InvalidField with field, file and
    line (JSON: field and file).
    """
    file = Path(path)
    if file.suffix == ".json":
        return read_snapshot(load_json(file))
    documents = parse_yaml(read_document(file), str(file))
    if len(documents) > 1:
        problem = f"has {len(documents)} documents"
        raise InvalidField("document", problem, "a snapshot is one", documents[1].where())
    return read_snapshot(documents[0])


def read_snapshot(document: Section) -> ClusterSnapshot:
    """As load_snapshot, from a document that was read."""
    kind = document.string("kind")
    if kind != KIND:
        raise document.error("kind", f"is {kind!r}", f"a snapshot has `kind: {KIND}`")
    version = document.integer("version")
    if version != VERSION:
        raise document.error("version", f"is {version}", f"this Tango reads {VERSION}")
    snapshot = ClusterSnapshot(
        tuple(_node(row) for row in document.sections("nodes")),
        tuple(_image(row) for row in document.sections("images", required=False)),
        _round_trips(document.section("round_trips")) if "round_trips" in document else None,
        tuple(_placed(row) for row in document.sections("pods", required=False)),
        tuple(_reservation(row) for row in document.sections("reservations", required=False)),
    )
    document.finish()
    try:
        snapshot.room()
    except InvalidField as error:
        raise error.at(document.where(error.field)) from None
    return snapshot


def snapshot_text(snapshot: ClusterSnapshot) -> str:
    """JSON that load_snapshot makes the same snapshot from; as YAML it reads the same."""
    document: Row = {
        "kind": KIND,
        "version": VERSION,
        "nodes": [_node_row(node) for node in snapshot.nodes],
    }
    if snapshot.images:
        document["images"] = [
            {"name": one.name, "layers": [{"digest": d, "bytes": size} for d, size in one.layers]}
            for one in snapshot.images
        ]
    if snapshot.round_trips is not None:
        trips = snapshot.round_trips
        pairs = [{"from": one, "to": other, "rtt_ms": ms} for one, other, ms in trips.pairs]
        table: Row = {"between": trips.between, "pairs": pairs}
        if trips.within_ms:
            table["within_ms"] = trips.within_ms
        document["round_trips"] = table
    if snapshot.pods:
        document["pods"] = [_placed_row(placed) for placed in snapshot.pods]
    if snapshot.reservations:
        document["reservations"] = [_reservation_row(one) for one in snapshot.reservations]
    # Escapes of JSON that YAML does not know are those beyond ASCII.
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _node(row: Section) -> NodeRow:
    cores = row.integer("cores", -1, low=0, high=MAX_CORES)
    name = row.string("name")
    if not name:
        raise row.error("name", "is empty", "name it")
    return NodeRow(
        name,
        row.cpu("cpu"),
        row.memory("memory"),
        cores=None if cores < 0 else cores,
        site=row.string("site", ""),
        labels=row.string_map("labels"),
        taints=tuple(read_taint(one) for one in row.sections("taints", required=False)),
        images=read_images(row, "images"),
        layers=tuple(
            _digest(row, f"layers[{at}]", text) for at, text in enumerate(row.strings("layers", ()))
        ),
        cordoned=row.boolean("cordoned", False),
        cloud=row.boolean("cloud", False),
        bandwidth_bytes_per_s=row.number("bandwidth_bytes_per_s", 0.0, low=1, high=1e15) or None,
    )


def _node_row(node: NodeRow) -> Row:
    row: Row = {
        "name": node.name,
        "cpu": format_cpu(node.cpu_millis),
        "memory": node.memory_bytes,
    }
    if node.cores is not None:
        row["cores"] = node.cores
    plain: tuple[tuple[str, object], ...] = (
        ("site", node.site),
        ("labels", dict(node.labels)),
        ("taints", [{"key": t.key, "value": t.value, "effect": t.effect} for t in node.taints]),
        ("images", list(node.images)),
        ("layers", list(node.layers)),
        ("cordoned", node.cordoned),
        ("cloud", node.cloud),
        ("bandwidth_bytes_per_s", node.bandwidth_bytes_per_s),
    )
    return row | {key: value for key, value in plain if value}


def _image(row: Section) -> ImageRow:
    layers = tuple(
        (
            _digest(layer, "digest", layer.string("digest")),
            layer.integer("bytes", low=0, high=MAX_LAYER_BYTES),
        )
        for layer in row.sections("layers")
    )
    return ImageRow(read_image(row, "name", row.string("name")), layers)


def _digest(row: Section, key: str, text: str) -> str:
    try:
        return check_digest(text)
    except InvalidField as error:
        raise row.error(key, error.problem, error.fix) from None


def _round_trips(table: Section) -> RoundTrips:
    between = table.choice("between", _Between)
    pairs = tuple(
        (row.string("from"), row.string("to"), row.number("rtt_ms", low=0, high=MAX_MS))
        for row in table.sections("pairs")
    )
    if between is _Between.NODES:
        return RoundTrips("nodes", pairs)
    return RoundTrips("sites", pairs, table.number("within_ms", 0.0, low=0, high=MAX_MS))


def _placed(row: Section) -> Placed:
    return Placed(read_pod(row), row.string("on"), row.string("backup", ""))


def _placed_row(placed: Placed) -> Row:
    row = pod_row(placed.pod) | {"on": placed.node}
    return row | {"backup": placed.backup} if placed.backup else row


def _reservation(row: Section) -> Reservation:
    return Reservation(
        row.string("node"),
        row.cpu("cpu", 0),
        row.memory("memory", 0),
        row.integers("ports", low=1, high=MAX_PORT),
    )


def _reservation_row(one: Reservation) -> Row:
    row: Row = {"node": one.node}
    if one.cpu_millis:
        row["cpu"] = format_cpu(one.cpu_millis)
    if one.memory_bytes:
        row["memory"] = one.memory_bytes
    if one.ports:
        row["ports"] = list(one.ports)
    return row
