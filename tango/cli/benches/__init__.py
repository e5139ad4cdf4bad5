"""What `tango bench` measures with: a file a benchmark, and the programs that they need."""

# First: it quietens gRPC's core, which looks only once.
import tango.wire  # noqa: F401
