"""The operations of the protocol: checks a request's fields and lets the payload do it."""

from __future__ import annotations

import os

from . import fields
from .protocol import VERSION, Refused
from .spec import LIMIT_S, MAX_LIMIT_S, StartSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .clients import Client
    from .diagnostics import Diagnostics
    from .payload import Payload
    from .protocol import Json

_GRACE_S = 10.0
_GRACE_MAX_S = 3600.0
_MAX_IMAGES = 2 << 30


class Operations:
    """Handles one request at a time; `identity` is what hello answers."""

    def __init__(self, payload: Payload, identity: Json, diagnostics: Diagnostics) -> None:
        self._payload = payload
        self._identity = {"version": VERSION, "pid": os.getpid(), **identity}
        self._diagnostics = diagnostics
        self._known: dict[str, Callable[[Json], Json]] = {
            "hello": self._hello,
            "stop": self._stop,
            "list": self._list,
            "ack": self._ack,
            "shutdown": self._shutdown,
        }

    def handle(self, client: Client, message: Json) -> None:
        """Do it and reply; whatever is wrong with it becomes a refusal."""
        number: int | None = None
        try:
            number = fields.request_id(message)
            self._dispatch(client, number, message)
        except Refused as refused:
            client.send(refused.reply(number))
        except OSError as problem:
            self._diagnostics("internal", op=str(message.get("op"))[:40], error=str(problem))
            client.send(Refused("INTERNAL", f"the state directory: {problem}").reply(number))
        except Exception as problem:  # noqa: BLE001 (reported; the payload's parent must live on)
            import traceback  # a fault is rare, and this costs 0.6 MiB

            trace = "".join(traceback.format_exception(problem))[-2000:]
            self._diagnostics("internal", op=str(message.get("op"))[:40], error=trace)
            client.send(
                Refused("INTERNAL", f"a fault in the supervisor: {problem!r}").reply(number)
            )

    def _dispatch(self, client: Client, number: int, message: Json) -> None:
        op = message.get("op")
        if op == "start":
            self._start(client, number, message)
            return
        if op in ("checkpoint", "criu"):
            self._checkpoint(client, number, message)
            return
        if op == "subscribe":
            _only(message)
            client.subscribed = True
            client.send({"id": number, "ok": True})
            return
        operation = self._known.get(op) if isinstance(op, str) else None
        if operation is None:
            known = ", ".join(sorted([*self._known, "checkpoint", "criu", "start", "subscribe"]))
            raise Refused("INVALID", f"op: must be one of {known}", field="op")
        client.send({"id": number, "ok": True, **operation(message)})

    def _start(self, client: Client, number: int, message: Json) -> None:
        self._payload.start(StartSpec(message), _answer(client, number))

    def _checkpoint(self, client: Client, number: int, message: Json) -> None:
        answer = _answer(client, number)
        if message["op"] == "criu":
            _only(message)
            self._payload.checkpointing.check(answer)
            return
        _only(message, "key", "root", "max_bytes", "limit_s")
        self._payload.checkpoint(
            fields.key(message),
            fields.absolute_path(message.get("root"), "root"),
            fields.integer(message, "max_bytes", 1, 2**50, _MAX_IMAGES),
            fields.seconds(message, "limit_s", MAX_LIMIT_S, LIMIT_S),
            answer,
        )

    def _hello(self, message: Json) -> Json:
        _only(message)
        return self._identity

    def _stop(self, message: Json) -> Json:
        _only(message, "key", "grace_s", "signal")
        key = fields.key(message)
        grace_s = fields.seconds(message, "grace_s", _GRACE_MAX_S, _GRACE_S)
        number = fields.optional_integer(message, "signal", 1, 64)
        return {"record": self._payload.stop(key, grace_s, number)}

    def _list(self, message: Json) -> Json:
        _only(message, "after", "limit")
        after = fields.key(message, "after") if message.get("after") is not None else None
        records, following = self._payload.page(
            after, fields.integer(message, "limit", 1, 1000, 1000)
        )
        return {"records": records, "next": following}

    def _ack(self, message: Json) -> Json:
        _only(message, "key", "keep_log")
        key = fields.key(message)
        keep_log = fields.boolean(message, "keep_log", default=True)
        return {"duplicate": self._payload.acknowledge(key, keep_log=keep_log)}

    def _shutdown(self, message: Json) -> Json:
        _only(message, "grace_s")
        grace_s = fields.seconds(message, "grace_s", _GRACE_MAX_S, _GRACE_S)
        return {"runs": self._payload.shutdown(grace_s)}


def _answer(client: Client, number: int) -> Callable[[Json | Refused], None]:
    """What tells this client, whenever that is."""

    def answer(result: Json | Refused) -> None:
        if isinstance(result, Refused):
            client.send(result.reply(number))
        else:
            client.send({"id": number, "ok": True, **result})

    return answer


def _only(message: Json, *names: str) -> None:
    fields.only(message, ("id", "op", *names))
