"""Tango: latency-critical services and best-effort jobs, side by side on edge sites."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for True; importing typing costs a node 0.8 MiB
if TYPE_CHECKING:
    from tango.model.settings import TlsSettings
    from tango.sdk.call_failed import CallFailed
    from tango.sdk.client import Client
    from tango.sdk.cluster_file import ClusterFile
    from tango.sdk.sync_client import SyncClient

__version__ = "0.1.0"
__all__ = ["CallFailed", "Client", "ClusterFile", "SyncClient", "TlsSettings", "__version__"]

_PLACES = {
    "CallFailed": "tango.sdk.call_failed",
    "Client": "tango.sdk.client",
    "ClusterFile": "tango.sdk.cluster_file",
    "SyncClient": "tango.sdk.sync_client",
    "TlsSettings": "tango.model.settings",
}


def __getattr__(name: str) -> object:
    # The SDK is loaded when it is asked for: a worker imports tango too, and stays small.
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'tango' has no attribute {name!r}")
