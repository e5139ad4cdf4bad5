"""cluster.json in a state directory: where the daemons are, and which token they want."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tango.model.errors import Unavailable

FILE = "cluster.json"


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """What a client needs. edges: (name, "host:port"), in the order in which they were made."""

    central: str
    edges: tuple[tuple[str, str], ...]
    token_file: str


def default_state_dir() -> Path:
    """$TANGO_STATE, else tango/ below the user's state directory (XDG Base Directory)."""
    explicit = os.environ.get("TANGO_STATE", "")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_STATE_HOME", "") or str(Path.home() / ".local" / "state")
    return Path(base) / "tango"


def read_cluster_file(state_dir: Path) -> ClusterFile:
    """Raises Unavailable, with what to do, where there is no cluster."""
    path = state_dir / FILE
    try:
        data = json.loads(path.read_text("utf-8"))
        edges = tuple((str(edge["name"]), str(edge["address"])) for edge in data["edges"])
        return ClusterFile(str(data["central"]), edges, str(data["token_file"]))
    except FileNotFoundError:
        raise Unavailable(
            f"no cluster at {state_dir}: start one with `tango up`, or name another by --state"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error


def write_cluster_file(state_dir: Path, cluster: ClusterFile) -> None:
    """Atomically, mode 0600."""
    data = {
        "central": cluster.central,
        "edges": [{"name": name, "address": address} for name, address in cluster.edges],
        "token_file": cluster.token_file,
    }
    partial = state_dir / f"{FILE}.new"
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(data, indent=2) + "\n")
    partial.replace(state_dir / FILE)
