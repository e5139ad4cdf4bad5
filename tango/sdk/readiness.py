"""Whether a service has what was declared, and if not, why: for those who wait, and for tables."""

from __future__ import annotations

from tango.model.service import ReplicaState
from tango.model.views import ServiceView


def not_ready_reason(view: ServiceView | None) -> str:
    """Why a service is short of ready replicas, for people."""
    if view is None:
        return "it was deleted"
    reasons = [
        f"{replica.status.replica_id} is {replica.status.state.value}"
        + (f" ({replica.status.reason})" if replica.status.reason else "")
        for replica in view.replicas
        if replica.status.state is not ReplicaState.READY
    ]
    detail = "; ".join(reasons) or view.reason or "no replica is placed yet"
    return f"{view.ready} of {view.spec.replicas} replicas ready: {detail}"


def backs_off(view: ServiceView) -> bool:
    """Whether some replica failed to start and waits before it is tried again."""
    return any(replica.status.state is ReplicaState.BACKOFF for replica in view.replicas)


def is_current(view: ServiceView) -> bool:
    """Whether no replica of an earlier generation is left."""
    return all(replica.status.generation == view.generation for replica in view.replicas)
