"""cluster.json in a state directory: where the daemons are, and what they want to be shown."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tango.model.errors import Unavailable
from tango.model.settings import TlsSettings

FILE = "cluster.json"


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """What a client needs. edges: (name, "host:port"), in the order in which they were made.

    token_file: for daemons on loopback. tls: the user's certificate, for those that ask for one;
    token_file is "" then. Relative paths in the file are relative to its directory.
    rest: the address of central's REST face, for people; "" where there is none.
    """

    central: str
    edges: tuple[tuple[str, str], ...]
    token_file: str = ""
    tls: TlsSettings | None = None
    rest: str = ""


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
        tls = data.get("tls")
        return ClusterFile(
            str(data["central"]),
            edges,
            "" if tls else str(state_dir / data["token_file"]),
            _tls(tls, state_dir) if tls else None,
            str(data.get("rest", "")),
        )
    except FileNotFoundError:
        raise Unavailable(
            f"no cluster at {state_dir}: start one with `tango up`, or name another by --state"
        ) from None
    except KeyError as error:
        raise Unavailable(f"{path} lacks {error}: see docs/security.md") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error


def _tls(data: Mapping[str, object], base: Path) -> TlsSettings:
    names = ("ca_file", "cert_file", "key_file")
    return TlsSettings(*(str(base / Path(str(data[name])).expanduser()) for name in names))


def write_cluster_file(state_dir: Path, cluster: ClusterFile) -> None:
    """Atomically, mode 0600."""
    data: dict[str, object] = {
        "central": cluster.central,
        "edges": [{"name": name, "address": address} for name, address in cluster.edges],
    }
    if cluster.tls is None:
        data["token_file"] = cluster.token_file
    else:
        data["tls"] = asdict(cluster.tls)
    if cluster.rest:
        data["rest"] = cluster.rest
    partial = state_dir / f"{FILE}.new"
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(data, indent=2) + "\n")
    partial.replace(state_dir / FILE)
