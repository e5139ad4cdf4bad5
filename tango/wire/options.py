"""gRPC channel arguments, alike on both sides: keepalive, message size, reconnect backoff."""

from __future__ import annotations

from tango.model.settings import DEFAULT_MAX_BODY_BYTES

Options = tuple[tuple[str, int], ...]

# Beside a body of the largest size: its headers, a batch around it, or a listing without bodies.
OVERHEAD_BYTES = 12 * 2**20
MAX_MESSAGE_BYTES = DEFAULT_MAX_BODY_BYTES + OVERHEAD_BYTES

KEEPALIVE_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 5_000
HANDSHAKE_TIMEOUT_MS = 10_000
BACKOFF_FIRST_MS = 200
BACKOFF_MOST_MS = 2_000


def _shared(max_message_bytes: int) -> Options:
    return (
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )


def channel_options(max_message_bytes: int = MAX_MESSAGE_BYTES) -> Options:
    """For clients."""
    return (
        *_shared(max_message_bytes),
        ("grpc.initial_reconnect_backoff_ms", BACKOFF_FIRST_MS),
        ("grpc.min_reconnect_backoff_ms", BACKOFF_MOST_MS),
        ("grpc.max_reconnect_backoff_ms", BACKOFF_MOST_MS),
        # At most once: what may have run is for the caller to judge, never sent again by gRPC.
        ("grpc.enable_retries", 0),
        # One channel's backoff and connection must not be another's.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    )


def server_options(max_message_bytes: int = MAX_MESSAGE_BYTES) -> Options:
    """For servers: no second process may listen on the same port, and our pings are welcome."""
    return (
        *_shared(max_message_bytes),
        ("grpc.so_reuseport", 0),
        # Who connects and then says nothing does not keep a place for gRPC's two minutes.
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
        # The C core's name for it; with "recv" in it, as gRPC's documents have it, nothing happens.
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    )


def message_bytes_for(max_body_bytes: int) -> int:
    """The message limit under which a body of this size travels, alone or in a batch."""
    return max(MAX_MESSAGE_BYTES, max_body_bytes + 12 * 2**20)
