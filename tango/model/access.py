"""Who may call what: roles as certificates state them, and the one table of RPCs and roles."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from tango.model.names import NAME

SCHEME = "tango://"
# Server names end in this; "internal" is set aside for private use (ICANN, 2024).
SERVER_DOMAIN = "tango.internal"


class Role(enum.Enum):
    """What a certificate makes of its holder."""

    USER = "user"
    EDGE = "edge"
    WORKER = "worker"
    PEER = "peer"
    CENTRAL = "central"


@dataclass(frozen=True, slots=True)
class Identity:
    """A role and the name that goes with it: of a person, a node, a site."""

    role: Role
    name: str

    def __str__(self) -> str:
        return f"{self.role.value} {self.name}"

    @property
    def uri(self) -> str:
        """As a certificate states it in its subject alternative names."""
        return f"{SCHEME}{self.role.value}/{self.name}"

    @property
    def server_names(self) -> tuple[str, str]:
        """DNS names of its certificate that clients check: of its role, and of itself."""
        return server_name(self.role), server_name(self.role, self.name)


def server_name(role: Role, name: str = "") -> str:
    """What a client demands of a server's certificate: any of that role, or the one of that name.

    It says whom the client wants, wherever it is dialled: behind NAT, or at an address that moves.
    """
    of_role = f"{role.value}.{SERVER_DOMAIN}"
    return f"{name}.{of_role}" if name else of_role


def parse_identity(uri: str) -> Identity | None:
    """The identity in "tango://worker/node-1"; None for anything else."""
    role, slash, name = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not slash or NAME.fullmatch(name) is None:
        return None
    for known in Role:
        if known.value == role:
            return Identity(known, name)
    return None


_USER = frozenset({Role.USER})
_ANYONE = frozenset(Role)

# Full method names as gRPC has them. What is not here is refused, whoever asks.
RPCS: Mapping[str, frozenset[Role]] = {
    "/tango.v1.CentralService/SubmitJob": _USER,
    "/tango.v1.CentralService/GetJob": _USER,
    "/tango.v1.CentralService/ListJobs": _USER,
    "/tango.v1.CentralService/WatchJob": _USER,
    "/tango.v1.CentralService/CancelJob": _USER,
    "/tango.v1.CentralService/MigrateJob": _USER,
    "/tango.v1.CentralService/GetJobLog": _USER,
    "/tango.v1.CentralService/ListEdges": _USER,
    "/tango.v1.CentralService/ListNodes": _USER,
    "/tango.v1.CentralService/ListImages": _USER,
    "/tango.v1.CentralService/GetBatchPolicy": _USER,
    "/tango.v1.CentralService/SetBatchPolicy": _USER,
    "/tango.v1.CentralService/Explain": _USER,
    "/tango.v1.CentralService/ImprovePlacement": _USER,
    "/tango.v1.CentralService/TryJob": _USER,
    "/tango.v1.CentralService/ConnectEdge": frozenset({Role.EDGE}),
    "/tango.v1.CentralService/FetchCheckpoint": frozenset({Role.EDGE}),
    "/tango.v1.CentralService/OfferCheckpoint": frozenset({Role.EDGE}),
    "/tango.v1.EdgeService/ApplyService": _USER,
    "/tango.v1.EdgeService/DeleteService": _USER,
    "/tango.v1.EdgeService/GetService": _USER,
    "/tango.v1.EdgeService/ListServices": _USER,
    "/tango.v1.EdgeService/WatchService": _USER,
    "/tango.v1.EdgeService/ListNodes": _USER,
    "/tango.v1.EdgeService/CordonNode": _USER,
    "/tango.v1.EdgeService/UncordonNode": _USER,
    "/tango.v1.EdgeService/DrainNode": _USER,
    "/tango.v1.EdgeService/GetTrafficPolicy": _USER,
    "/tango.v1.EdgeService/SetTrafficPolicy": _USER,
    "/tango.v1.EdgeService/Call": _USER,
    "/tango.v1.EdgeService/CallMany": _USER,
    "/tango.v1.EdgeService/CallStreamed": _USER,
    "/tango.v1.EdgeService/WatchRoutes": _USER,
    "/tango.v1.EdgeService/FollowRoutes": _USER,
    "/tango.v1.EdgeService/GetLog": _USER,
    "/tango.v1.EdgeService/Explain": _USER,
    "/tango.v1.EdgeService/ConnectWorker": frozenset({Role.WORKER}),
    "/tango.v1.EdgeService/FetchCheckpoint": frozenset({Role.WORKER}),
    "/tango.v1.EdgeService/OfferCheckpoint": frozenset({Role.WORKER}),
    # An edge's own certificate will do; one for a peer opens nothing else, such as central.
    "/tango.v1.PeerService/ConnectPeer": frozenset({Role.EDGE, Role.PEER}),
    "/tango.v1.PeerService/ListPeers": _USER,
    "/tango.v1.WorkerService/GetNode": _USER,
    "/grpc.health.v1.Health/Check": _ANYONE,
    "/grpc.health.v1.Health/Watch": _ANYONE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _ANYONE,
}


def refusal(method: str, identity: Identity) -> str:
    """Why this identity may not call the method; "" where it may."""
    roles = RPCS.get(method)
    if roles is None:
        return f"{method} is open to nobody"
    if identity.role in roles:
        return ""
    allowed = " or ".join(sorted(role.value for role in roles))
    return f"{method} is for {allowed}; the certificate says {identity}"
