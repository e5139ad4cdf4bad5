"""gRPC and protobuf: the only package that sees tango.v1; everyone above speaks the model."""

import os

# gRPC's C core writes lines of its own to stderr, "Got goaway" at each orderly stop among them,
# between our structured logs. It reads this when it is first loaded, which is below this package.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Its older poller takes fewer threads and wake-ups a call: see docs/adr/0006.
os.environ.setdefault(
    "GRPC_EXPERIMENTS",
    "-event_engine_client,-event_engine_listener,-event_engine_dns,-event_engine_poller_for_python",
)
