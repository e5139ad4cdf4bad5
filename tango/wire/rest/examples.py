"""Bodies to try a call with; a test sends each of them to a real central master."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tango.wire.rest.bindings import WHOLE, Binding

BODIES: Mapping[str, Any] = {
    "SubmitJob": {
        "name": "digest",
        "tasks": [
            {
                "name": "main",
                "argv": ["/usr/bin/sha256sum", "/bin/bash"],
                "cpuMillis": 250,
                "memoryBytes": str(64 * 2**20),
            }
        ],
    },
    "TryJob": {
        "name": "near-web",
        "tasks": [
            {
                "name": "main",
                "argv": ["/usr/bin/sha256sum", "/bin/bash"],
                "near": {"node": "a1", "withinMs": 20},
                "backup": True,
            }
        ],
    },
    "ImprovePlacement": {"maxMoves": 10, "apply": False},
    "SetBatchPolicy": {"policy": "most-free"},
}


def body_to_try(binding: Binding) -> Any:
    """The body as JSON, None where there is none."""
    if not binding.body:
        return None
    return BODIES[binding.rpc.name] if binding.body != WHOLE else BODIES.get(binding.rpc.name, {})


def curl_of(binding: Binding, *, secure: bool) -> str:
    """A command line: $TANGO is the address, JOB_ID and the like are to be filled in."""
    words = ["curl"]
    if binding.streams:
        words.append("-N")
    if secure:
        words.append("--cacert ca.pem --cert cert.pem --key key.pem")
    else:
        words.append('-H "Authorization: Bearer $TOKEN"')
    body = body_to_try(binding)
    if body is not None:
        words.append("-H 'Content-Type: application/json'")
        words.append(f"-d '{json.dumps(body)}'")
    path = binding.path
    for name in binding.variables:
        path = path.replace(f"{{{name}}}", name.upper())
    words.append(f'"$TANGO{path}"')
    return " ".join(words)
