"""The REST face on a real socket: every call, and every way to ask for it wrongly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from rest_probe import JOB, TOKEN, Answer, Face, faced, parsed

from tango.model.cluster import NodeCapacity, NodeView
from tango.model.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidField,
    NotFound,
    Refused,
    ResourceExhausted,
    TangoError,
    Unavailable,
)
from tango.model.events import EdgeUp
from tango.model.messages import EdgeHello, EdgeState
from tango.v1 import central_service_pb2
from tango.wire.rest.bindings import Binding, bindings_of
from tango.wire.rest.bodies import MAX_BODY_BYTES
from tango.wire.rest.examples import BODIES
from tango.wire.rest.failures import HTTP_STATUS

BINDINGS = bindings_of(central_service_pb2.DESCRIPTOR.services_by_name["CentralService"])


@pytest.fixture
async def face() -> AsyncIterator[Face]:
    async with faced() as found:
        yield found


async def submitted(face: Face, **changes: Any) -> Any:
    answer = await face.call("POST", "/v1/jobs", {**JOB, **changes})
    assert answer.status == 200, answer.body
    return answer.json["job"]


def site_up(face: Face, *nodes: NodeView, session: int = 99, name: str = "site-a") -> None:
    """A site with these nodes, as if it had dialled in; what it is told goes nowhere."""
    hello = EdgeHello(name, 1, "127.0.0.1:1", "0")
    face.daemon.shell.post(EdgeUp(session, hello, EdgeState(nodes, (), ()), 1.0))


def node(name: str, edge: str = "site-a") -> NodeView:
    return NodeView(name, edge, ready=True, capacity=NodeCapacity(2000, 2**30))


async def test_a_job_from_submit_to_cancel(face: Face) -> None:
    job = await submitted(face, priority=-3, retries=2)
    job_id = job["jobId"]
    assert job["state"] == "JOB_STATE_PENDING"
    assert (job["spec"]["priority"], job["spec"]["retries"]) == (-3, 2)
    # 64-bit integers are strings, as protobuf has them; fields at their default are there.
    assert job["spec"]["tasks"][0]["memoryBytes"] == str(128 * 2**20)
    assert job["cancelRequested"] is False
    one = await face.call("GET", f"/v1/jobs/{job_id}")
    assert one.json["job"] == job
    assert one.headers["content-type"] == "application/json"
    listed = (await face.call("GET", "/v1/jobs")).json
    assert [each["jobId"] for each in listed["jobs"]] == [job_id]
    assert listed["counts"]["pending"] == "1"
    cancelled = await face.call("POST", f"/v1/jobs/{job_id}:cancel", {})
    assert cancelled.json["job"]["state"] == "JOB_STATE_CANCELLED"
    again = await face.call("POST", f"/v1/jobs/{job_id}:cancel")
    assert again.status == 200, "no body will do"
    assert face.daemon.job(job_id).state.value == "cancelled", "it is the daemon's own job"


async def test_lists_take_a_limit_and_states(face: Face) -> None:
    ids = [(await submitted(face))["jobId"] for _ in range(4)]
    await face.call("POST", f"/v1/jobs/{ids[0]}:cancel")

    async def found(query: str) -> list[str]:
        answer = await face.call("GET", f"/v1/jobs?{query}")
        return [job["jobId"] for job in answer.json["jobs"]]

    assert await found("limit=2") == ids[-2:]
    assert await found("states=JOB_STATE_CANCELLED") == ids[:1]
    assert await found("states=6") == ids[:1], "by number too, as protobuf's JSON takes it"
    both = "states=JOB_STATE_CANCELLED&states=JOB_STATE_PENDING&limit=3"
    assert await found(both) == ids[-3:]
    assert await found("states=JOB_STATE_FAILED") == []


async def test_sites_and_nodes(face: Face) -> None:
    assert (await face.call("GET", "/v1/edges")).json == {"edges": []}
    assert (await face.call("GET", "/v1/nodes")).json == {"nodes": []}
    missing = await face.call("GET", "/v1/nodes?edge=nowhere")
    assert (missing.status, missing.error["status"]) == (404, "NOT_FOUND")
    site_up(face)
    (edge,) = (await face.call("GET", "/v1/edges")).json["edges"]
    assert (edge["edge"], edge["connected"]) == ("site-a", True)
    assert (await face.call("GET", "/v1/nodes?edge=site-a")).json == {"nodes": []}


async def test_why(face: Face) -> None:
    job_id = (await submitted(face))["jobId"]
    answer = await face.call("GET", f"/v1/explain/{job_id}?subjects=SUBJECT_JOB&limit=3")
    (explanation,) = answer.json["explanations"]
    assert (explanation["subject"], explanation["name"]) == ("SUBJECT_JOB", job_id)
    assert (await face.call("GET", "/v1/explain/nothing")).status == 404


async def test_a_watch_is_a_line_for_each_change(face: Face) -> None:
    job_id = (await submitted(face))["jobId"]
    reader, writer = await face.connect()
    writer.write(
        f"GET /v1/jobs/{job_id}:watch HTTP/1.1\r\nHost: {face.address}\r\n"
        f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
    )
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0]
        assert b"application/x-ndjson" in head

        async def line() -> Any:
            size = int((await reader.readline()).strip(), 16)
            data = await reader.readexactly(size + 2)
            return json.loads(data) if size else None

        first = await line()
        assert first["job"]["state"] == "JOB_STATE_PENDING"
        await face.call("POST", f"/v1/jobs/{job_id}:cancel")
        last = await line()
        while (found := await line()) is not None:
            last = found
        assert last["job"]["state"] == "JOB_STATE_CANCELLED"
    writer.close()
    await writer.wait_closed()


async def test_a_stream_that_cannot_begin_has_a_status_of_its_own(face: Face) -> None:
    for path in ("/v1/jobs/nope:watch", "/v1/jobs/nope/log"):
        answer = await face.call("GET", path)
        assert (answer.status, answer.error["status"]) == (404, "NOT_FOUND")
    job_id = (await submitted(face))["jobId"]
    answer = await face.call("GET", f"/v1/jobs/{job_id}/log?tail_bytes=5&follow=true")
    assert "not been placed" in answer.error["message"]


async def test_a_stream_that_ends_badly_says_so_in_its_last_line(face: Face) -> None:
    job_id = (await submitted(face))["jobId"]
    watching = asyncio.ensure_future(face.call("GET", f"/v1/jobs/{job_id}:watch"))
    await asyncio.sleep(0.1)
    face.daemon.stop()
    answer = await watching
    first, last = answer.body.splitlines()
    assert json.loads(first)["job"]["jobId"] == job_id
    assert json.loads(last)["error"]["code"] == 503
    assert "stopping" in json.loads(last)["error"]["message"]


# ---- what central refuses


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidField("spec.name", "is wrong"), 400, "INVALID_ARGUMENT"),
        (FailedPrecondition("job x can never run here"), 400, "FAILED_PRECONDITION"),
        (Refused("the certificate is for another"), 403, "PERMISSION_DENIED"),
        (NotFound("there is no job x"), 404, "NOT_FOUND"),
        (AlreadyExists("there is such a job"), 409, "ALREADY_EXISTS"),
        (ResourceExhausted("9 jobs are waiting already"), 429, "RESOURCE_EXHAUSTED"),
        (TangoError("something of ours"), 500, "INTERNAL"),
        (Unavailable("the disk is full"), 503, "UNAVAILABLE"),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, TangoError) else "",
)
async def test_each_refusal_has_its_status(
    face: Face, monkeypatch: pytest.MonkeyPatch, error: TangoError, status: int, code: str
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(face.daemon, "submit_job", refuse)
    answer = await face.call("POST", "/v1/jobs", JOB)
    assert (answer.status, answer.error["status"]) == (status, code)
    assert answer.error["message"] == str(error)
    assert ("retry-after" in answer.headers) is (status == 429)


async def test_a_job_that_never_fits_is_no_matter_of_permission(face: Face) -> None:
    large = {**JOB, "tasks": [{**JOB["tasks"][0], "cpuMillis": 900_000}]}  # type: ignore[index]
    answer = await face.call("POST", "/v1/jobs?require_fit=true", large)
    assert (answer.status, answer.error["status"]) == (503, "UNAVAILABLE")
    assert "no node is known yet" in answer.error["message"]
    site_up(face, node("n1"))
    answer = await face.call("POST", "/v1/jobs?require_fit=true", large)
    assert (answer.status, answer.error["status"]) == (400, "FAILED_PRECONDITION")
    assert "can never run here: NeverFits" in answer.error["message"]
    assert (await face.call("POST", "/v1/jobs?require_fit=true", JOB)).status == 200


async def test_nor_is_a_task_that_cannot_migrate(face: Face) -> None:
    ended = (await submitted(face))["jobId"]
    await face.call("POST", f"/v1/jobs/{ended}:cancel")
    site_up(face, node("n1"), node("twin"))
    site_up(face, node("twin", "site-b"), session=100, name="site-b")

    async def asked(job_id: str, to: str, **more: str) -> Answer:
        return await face.call("POST", f"/v1/jobs/{job_id}:migrate", {"node": to, **more})

    answer = await asked(ended, "n1")
    assert (answer.status, answer.error["status"]) == (400, "FAILED_PRECONDITION")
    assert "only what runs has a state to move" in answer.error["message"]
    answer = await asked(ended, "twin")
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
    told = "'twin' is the name of several nodes; say of which site: site-a, site-b"
    assert answer.violation == ("edge", told)
    for job_id, to, more in (("nope", "n1", {}), (ended, "n9", {}), (ended, "n1", {"task": "x"})):
        answer = await asked(job_id, to, **more)
        assert (answer.status, answer.error["status"]) == (404, "NOT_FOUND")


# ---- who may call


@pytest.mark.parametrize("binding", BINDINGS, ids=lambda binding: binding.rpc.name)
async def test_every_call_wants_the_token(face: Face, binding: Binding) -> None:
    path = binding.path.replace("{job_id}", "x").replace("{name}", "x")
    body = BODIES.get(binding.rpc.name)
    for token, word in ((None, "no token"), ("another-token", "wrong token"), ("", "wrong token")):
        answer = await face.call(binding.verb, path, body, token=token)
        assert (answer.status, answer.error["status"]) == (401, "UNAUTHENTICATED")
        assert answer.error["message"].startswith(word)
        assert answer.headers["www-authenticate"] == "Bearer"
    assert face.daemon.jobs((), 10) == ()
    basic = await face.call(binding.verb, path, body, token=None, authorization="Basic \xff\xfe")
    assert basic.status == 401


async def test_one_token_and_no_more(face: Face) -> None:
    for second in (TOKEN, "another-token"):
        lines = [f"Authorization: Bearer {token}" for token in (TOKEN, second)]
        head = ["GET /v1/jobs HTTP/1.1", f"Host: {face.address}", "Connection: close", *lines]
        answer = parsed(await face.raw("\r\n".join(head).encode() + b"\r\n\r\n"))
        assert (answer.status, answer.error["status"]) == (401, "UNAUTHENTICATED")
        assert answer.error["message"] == "several tokens: send 'authorization' once"


async def test_the_token_is_asked_for_before_the_body_is_read(face: Face) -> None:
    answer = await face.call(
        "POST", "/v1/jobs", b"", token=None, content_length=str(MAX_BODY_BYTES)
    )
    assert answer.status == 401, "and it was not waited for"


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"host": "evil.example"}, "host name"),
        ({"host": "127.0.0.1:1"}, "host name"),
        ({"host": "127.0.0.1.evil.example"}, "host name"),
        ({"host": ""}, "host name"),
        ({"origin": "http://evil.example"}, "pages"),
        ({"origin": "null"}, "pages"),
        ({"sec_fetch_site": "cross-site"}, "pages"),
        ({"sec_fetch_site": "same-site"}, "pages"),
    ],
)
async def test_pages_of_others_are_kept_out(face: Face, headers: dict[str, str], word: str) -> None:
    for verb, body in (("GET", None), ("POST", JOB)):
        answer = await face.call(verb, "/v1/jobs", body, **headers)
        assert (answer.status, answer.error["status"]) == (403, "PERMISSION_DENIED")
        assert word in answer.error["message"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert face.daemon.jobs((), 10) == ()


async def test_names_of_loopback_are_taken(face: Face) -> None:
    for host in ("localhost", f"localhost:{face.address.port}", "127.0.0.1", str(face.address)):
        assert (await face.call("GET", "/v1/jobs", host=host)).status == 200
    assert (await face.call("GET", "/v1/jobs", sec_fetch_site="none")).status == 200


# ---- what may be said


async def wrong(face: Face, body: Any, field: str, words: str, **headers: str) -> None:
    answer = await face.call("POST", "/v1/jobs", body, **headers)
    assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT"), answer.body
    found, description = answer.violation
    assert (found, words in description) == (field, True), (found, description)
    assert answer.error["message"] == f"{found}: {description}"
    assert len(answer.body) < 4000, "what came is not sent back whole"
    assert face.daemon.jobs((), 10) == ()


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b"{", "body", "is no JSON"),
        (b"{}{}", "body", "Extra data"),
        (b"{} trailing", "body", "Extra data"),
        (b"", "spec", "is missing"),
        (b"null", "body", "is no JSON object"),
        (b"[]", "body", "is no JSON object"),
        (b"\xff\xfe{}", "body", "is not UTF-8"),
        (b"\xef\xbb\xbf{}", "body", "BOM"),
        (b"[" * 200_000, "body", "nested too deep"),
        (b'{"tasks": ' * 5000 + b"1" + b"}" * 5000, "body", "nested too deep"),
        (b'{"name": "a", "name": "b"}', "body", "'name' is there twice"),
        (b'{"retries": NaN}', "body", "NaN is no number"),
        (b'{"retries": 1' + b"0" * 5000 + b"}", "body", "is no JSON"),
        (b"{'name': 'a'}", "body", "is no JSON"),
        (b'{"name": "a",}', "body", "is no JSON"),
        (b'{"name": "\\ud800"}', "spec.name", "string"),
    ],
)
async def test_what_is_no_json(face: Face, body: bytes, field: str, words: str) -> None:
    await wrong(face, body, field, words)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"nme": "x"}, "spec.nme", "is unknown; did you mean 'name'?"),
        ({"zzz": "x"}, "spec.zzz", "is unknown; known: name, tasks, retries, backoffS, backoff"),
        ({"spec": JOB}, "spec.spec", "is unknown; the body itself is it: send what is in it"),
        ({"tasks": [{"name": "a"}, {"cpu": 1}]}, "spec.tasks[1].cpu", "'cpuMillis' or 'cpuset'?"),
        ({"tasks": [{"memory": 1}]}, "spec.tasks[0].memory", "did you mean 'memoryBytes'?"),
        ({"tasks": [{"memory_byte": 1}]}, "spec.tasks[0].memory_byte", "mean 'memory_bytes'?"),
        ({"tasks": [{"stopgrace": 1}]}, "spec.tasks[0].stopgrace", "did you mean 'stopGraceS'?"),
        ({"argv": ["/bin/true"]}, "spec.argv", "is unknown; it belongs into each of 'tasks'"),
        ({"requireFit": True}, "spec.requireFit", "it is a parameter: write ?require_fit=..."),
        ({"require_fit": True}, "spec.require_fit", "it is a parameter: write ?require_fit=..."),
        ({"requirefits": True}, "spec.requirefits", "it is a parameter: write ?require_fit=..."),
        ({"[tango.v1.x]": 1}, "spec.[tango.v1.x]", "is unknown"),
        ({"@type": "x"}, "spec.@type", "is unknown"),
        ({"x" * 10_000: 1}, f"spec.{'x' * 100} ...", "is unknown"),
        ({"name": 1}, "spec.name", "write a string"),
        ({"name": ["a"]}, "spec.name", "write a string"),
        ({"tasks": {}}, "spec.tasks", "write a list"),
        ({"tasks": "a"}, "spec.tasks", "write a list"),
        ({"tasks": [1]}, "spec.tasks[0]", "write an object"),
        ({"tasks": [None]}, "spec.tasks[0]", "write an object"),
        ({"tasks": [{"argv": ["a", 1]}]}, "spec.tasks[0].argv[1]", "write a string"),
        ({"tasks": [{"cpuMillis": "much"}]}, "spec.tasks[0].cpuMillis", "integer of 0 to"),
        ({"tasks": [{"cpu_millis": -1}]}, "spec.tasks[0].cpu_millis", "integer of 0 to"),
        ({"tasks": [{"cpuMillis": 2**32}]}, "spec.tasks[0].cpuMillis", "integer of 0 to"),
        ({"tasks": [{"memoryBytes": 1.5}]}, "spec.tasks[0].memoryBytes", "integer of 0 to"),
        ({"tasks": [{"env": {"A": 1}}]}, "spec.tasks[0].env['A']", "write a string"),
        ({"tasks": [{"env": []}]}, "spec.tasks[0].env", "write an object"),
        ({"priority": True}, "spec.priority", "32-bit integer"),
        ({"backoffS": "soon"}, "spec.backoffS", "a number"),
        ({"name": "A b", "tasks": JOB["tasks"]}, "spec.name", "not a valid name"),
        ({"name": "x" * 100_000, "tasks": JOB["tasks"]}, "spec.name", "xxx ..."),
        ({**JOB, "tasks": []}, "spec.tasks", "task"),
        ({**JOB, "backoffS": "NaN"}, "spec.backoff_s", "nan is out of range"),
    ],
)
async def test_a_field_that_is_wrong_is_named(
    face: Face, body: Any, field: str, words: str
) -> None:
    await wrong(face, body, field, words)


async def test_both_spellings_and_both_kinds_of_integers(face: Face) -> None:
    task = {"name": "main", "argv": ["/bin/true"], "cpu_millis": "50", "memoryBytes": 2**26}
    job = await submitted(face, tasks=[task], backoff_s=2, backoffMaxS="4.5")
    spec = job["spec"]
    assert (spec["tasks"][0]["cpuMillis"], spec["tasks"][0]["memoryBytes"]) == (50, str(2**26))
    assert (spec["backoffS"], spec["backoffMaxS"]) == (2.0, 4.5)


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        ("/v1/jobs?limt=1", "limt", "is no parameter here; did you mean 'limit'?"),
        ("/v1/jobs?zzz=1", "zzz", "is no parameter here; known: states, limit"),
        ("/v1/jobs/x/log?tail=1", "tail", "did you mean 'tailBytes'?"),
        ("/v1/jobs?limit=1&limit=2", "limit", "twice"),
        ("/v1/jobs?limit=-1", "limit", "integer of 0 to"),
        ("/v1/jobs?limit=", "limit", "integer of 0 to"),
        ("/v1/jobs?limit=1%00", "limit", "integer of 0 to"),
        ("/v1/jobs?states=PENDING", "states[0]", "one of JOB_STATE_UNSPECIFIED, JOB_STATE_PENDING"),
        ("/v1/jobs?states=%ff", "states[0]", "one of"),
        ("/v1/jobs/x?job_id=y", "job_id", "is no parameter here"),
        ("/v1/jobs/x/log?follow=maybe", "follow", "neither true nor false"),
        ("/v1/edges?x", "x", "this call takes none"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(
    face: Face, path: str, field: str, words: str
) -> None:
    answer = await face.call("GET", path)
    assert answer.status == 400
    found, description = answer.violation
    assert (found, words in description) == (field, True), (found, description)


async def test_a_field_of_the_body_among_the_parameters(face: Face) -> None:
    answer = await face.call("POST", "/v1/jobs?retries=2", JOB)
    assert answer.violation == ("retries", "is no parameter here; it belongs into the body")
    for spelled in ("requireFit", "require_fit"):
        answer = await face.call("POST", f"/v1/jobs?{spelled}=perhaps", JOB)
        assert answer.violation[0] == "require_fit"


async def test_bodies_where_none_belongs(face: Face) -> None:
    answer = await face.call("GET", "/v1/jobs", {})
    assert (answer.status, answer.violation[0]) == (400, "body")
    answer = await face.call("POST", "/v1/jobs/a:cancel", {"jobId": "b"})
    assert (answer.status, answer.violation[0]) == (400, "job_id")
    answer = await face.call("POST", "/v1/jobs/a:cancel", {"now": True})
    assert (answer.status, answer.violation[0]) == (400, "now")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": None}, 415),
        ({"content_type": "application/json; charset=latin-1"}, 415),
        ({"content_type": "application/json; charset=UTF-8"}, 200),
        ({"content_encoding": "gzip"}, 415),
        ({"content_encoding": "identity"}, 200),
        ({"accept": "text/html"}, 200),
        ({"expect": "the-unexpected"}, 417),
    ],
)
async def test_headers_of_a_body(face: Face, headers: dict[str, str], status: int) -> None:
    answer = await face.call("POST", "/v1/jobs", JOB, **headers)
    assert answer.status == status, answer.body
    if status == 415:
        assert answer.headers["accept"] == "application/json"
    assert len(face.daemon.jobs((), 10)) == (status == 200)


# ---- the same job again


async def test_a_repeated_submission_is_the_same_job(face: Face) -> None:
    first = await face.call("POST", "/v1/jobs", JOB, idempotency_key='"a-key"')
    for query, key in (("", '"a-key"'), ("", "a-key"), ("?submission_id=a-key", None),
                       ("?submissionId=a-key", '"a-key"')):  # fmt: skip
        again = await face.call("POST", f"/v1/jobs{query}", JOB, idempotency_key=key)
        assert again.json == first.json
    changed = {**JOB, "retries": 3}
    answer = await face.call("POST", "/v1/jobs", changed, idempotency_key='"a-key"')
    assert (answer.status, answer.error["status"]) == (409, "ALREADY_EXISTS")
    job_id = first.json["job"]["jobId"]
    told = f"submission_id 'a-key' is that of another job, {job_id}: not the same in retries;"
    assert answer.error["message"].startswith(told)
    other = await face.call("POST", "/v1/jobs", JOB, idempotency_key='"another"')
    assert other.json["job"]["warning"] == f"another job named 'job' has not ended: {job_id}"
    for verb, path in (("GET", ""), ("GET", ":watch"), ("GET", "/log"), ("POST", ":cancel")):
        asked = await face.call(verb, f"/v1/jobs/job{path}")
        assert asked.status == 404
        assert "'job' is the name of 2 jobs; say which by its id: job-" in asked.error["message"]
    assert other.json["job"]["jobId"] != first.json["job"]["jobId"]
    assert len(face.daemon.jobs((), 10)) == 2


@pytest.mark.parametrize(
    ("query", "key", "field"),
    [
        ("?submission_id=a", '"b"', "submission_id"),
        ("", '""', "Idempotency-Key"),
        ("", "k" * 129, "submission_id"),
        ("?submission_id=%0a", None, "submission_id"),
    ],
)
async def test_a_key_that_is_wrong(face: Face, query: str, key: str | None, field: str) -> None:
    answer = await face.call("POST", f"/v1/jobs{query}", JOB, idempotency_key=key)
    assert (answer.status, answer.violation[0]) == (400, field)
    assert face.daemon.jobs((), 10) == ()


async def test_a_key_on_other_calls_does_no_harm(face: Face) -> None:
    job_id = (await submitted(face))["jobId"]
    answer = await face.call("POST", f"/v1/jobs/{job_id}:cancel", {}, idempotency_key='"k"')
    assert answer.status == 200


# ---- methods and paths


@pytest.mark.parametrize(
    ("verb", "path", "allowed"),
    [
        ("DELETE", "/v1/jobs", "GET, HEAD, POST"),
        ("PUT", "/v1/jobs/x", "GET, HEAD"),
        ("GET", "/v1/jobs/x:cancel", "POST"),
        ("HEAD", "/v1/jobs/x:watch", "GET"),
        ("POST", "/v1/jobs/x:watch", "GET"),
        ("POST", "/", "GET, HEAD"),
        ("OPTIONS", "/v1/jobs", "GET, HEAD, POST"),
        ("TRACE", "/v1/edges", "GET, HEAD"),
        ("PURGE", "/v1/edges", "GET, HEAD"),
    ],
)
async def test_a_wrong_method(face: Face, verb: str, path: str, allowed: str) -> None:
    answer = await face.call(verb, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    if verb != "HEAD":
        assert answer.error["code"] == 405


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/jobs/", "/v2/jobs", "/v1/jobs/a/b", "/v1/jobs/a:b", "/v1//jobs", "/..",
     "/v1/jobs/a:cancel/", "/index.html", "/metrics", "/tango.v1.CentralService/ListJobs"],
)  # fmt: skip
async def test_nothing_is_elsewhere(face: Face, path: str) -> None:
    answer = await face.call("GET", path)
    assert (answer.status, answer.error["status"]) == (404, "NOT_FOUND")


async def test_a_name_is_only_a_name(face: Face) -> None:
    for name in ("..%2f..%2fetc", "%00", "%ff", "a%3acancel", "%7bjob_id%7d"):
        answer = await face.call("GET", f"/v1/jobs/{name}")
        # An encoded colon is a colon: GET of :cancel is not allowed.
        assert answer.status == (405 if "%3a" in name else 404), answer.body


async def test_head_is_get_without_the_body(face: Face) -> None:
    for path, status in (("/v1/jobs", 200), ("/v1/jobs/nope", 404), ("/", 200)):
        get, head = await face.call("GET", path), await face.call("HEAD", path)
        assert (get.status, head.status, head.body) == (status, status, b"")
        assert head.headers["content-length"] == str(len(get.body))
        assert head.headers["content-type"] == get.headers["content-type"]


async def test_headers_of_every_answer(face: Face) -> None:
    for path in ("/", "/openapi.json", "/v1/jobs", "/v1/jobs/nope", "/nothing"):
        headers = (await face.call("GET", path)).headers
        assert headers["server"] == "tango"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in headers


async def test_what_can_be_read_without_a_token_holds_nothing_of_the_cluster(face: Face) -> None:
    before = await face.call("GET", "/openapi.json", token=None)
    page = await face.call("GET", "/", token=None)
    assert (before.status, page.status) == (200, 200)
    await submitted(face, name="secret-job")
    assert (await face.call("GET", "/openapi.json", token=None)).body == before.body
    assert (await face.call("GET", "/", token=None)).body == page.body
    assert (await face.call("GET", "/", token=None, host="evil.example")).status == 403


def test_every_code_of_grpc_has_a_status() -> None:
    """As google/rpc/code.proto says for each."""
    assert set(HTTP_STATUS) == set(grpc.StatusCode)
    assert HTTP_STATUS[grpc.StatusCode.FAILED_PRECONDITION] == 400
    assert HTTP_STATUS[grpc.StatusCode.RESOURCE_EXHAUSTED] == 429
    assert HTTP_STATUS[grpc.StatusCode.UNAVAILABLE] == 503


async def test_a_bug_is_told_to_the_log_and_not_to_the_client(
    face: Face, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def boom(*_: object) -> None:
        raise ValueError("the secret is 42")

    monkeypatch.setattr(face.daemon, "jobs", boom)
    answer = await face.call("GET", "/v1/jobs")
    assert (answer.status, answer.error["status"]) == (500, "INTERNAL")
    assert "42" not in answer.body.decode()
    assert "the secret is 42" in caplog.text
    assert isinstance(answer, Answer)
