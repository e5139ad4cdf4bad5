"""CentralService as JSON over HTTP/1.1 (docs/rest.md, ADR 0016): loaded only where it is asked for.

The paths stand in the protos (google.api.http), the calls go through the interceptors and the
servicer that gRPC's go through, and HTTP itself is aiohttp's.
"""
