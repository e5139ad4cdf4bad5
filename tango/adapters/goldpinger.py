"""Round trips from Goldpinger, which measures them between the nodes of a Kubernetes cluster.

`GET /check_all` of any of its pods answers for all; its schema is `swagger.yml` of
github.com/bloomberg/goldpinger. These are times of HTTP requests in whole milliseconds, rounded
down, not ICMP; a time of 0 is left out of the document (Go's omitempty).
Needs the package `aiohttp` (extra `registry`).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tango.adapters.registry_errors import BadReply
from tango.adapters.registry_transport import RegistryAccess, RegistryTransport, Retry, Url
from tango.model.errors import InvalidField, Unavailable
from tango.model.round_trips import MAX_RTT_S, MeasuredTrips, RoundTrip

PATH = "/check_all"
# A result takes about 250 bytes: 500 nodes and more.
MAX_BYTES = 64 * 2**20
MAX_PODS = 2000
MAX_PROBLEMS = 20
MAX_TEXT = 120
RETRY = Retry(attempts=3, attempt_s=10.0)


class Goldpinger:
    """A RoundTripSource. url: of one of its pods, or its service ("http://goldpinger:8080").

    node_of: our nodes by Goldpinger's name, host or pod address; a name without an entry is a
    node's own. ca_file: PEM certificates trusted in place of the system's.
    Raises InvalidField for what is no URL of http or https.
    """

    def __init__(
        self,
        url: str,
        node_of: Mapping[str, str] | None = None,
        *,
        ca_file: Path | None = None,
        timeout_s: float = 20.0,
        max_bytes: int = MAX_BYTES,
        retry: Retry = RETRY,
        generator: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = _check_all(url)
        self._access = RegistryAccess(
            f"{self._url.host}:{self._url.port}",
            ca_file=ca_file,
            plain_http=self._url.scheme == "http",
        )
        self._node_of = dict(node_of or {})
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._transport = RegistryTransport(retry, generator or random.Random(), 1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()

    async def measure(self) -> MeasuredTrips:
        """See ports.RoundTripSource. Raises Unavailable, BadReply, Refused."""
        ends = asyncio.get_running_loop().time() + self._timeout_s
        headers = {"Accept": "application/json"}
        reply = await self._transport.send(
            self._access, "GET", self._url, headers, ends=ends, max_bytes=self._max_bytes
        )
        if reply.status != 200:
            raise Unavailable(f"{self._url}: answered {reply.status}")
        # Tens of megabytes take a second to read.
        return await asyncio.to_thread(
            read_check_all, reply.body, self._node_of, self._clock(), str(self._url)
        )


def read_check_all(
    body: bytes, node_of: Mapping[str, str], now: float, what: str = "check_all"
) -> MeasuredTrips:
    """The document of /check_all. now: seconds since 1970, for the age of each measurement.

    What failed to be measured is left out; who gave no answer is named among the problems.
    Raises BadReply for what is no such document.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"{what}: not JSON: {str(error)[:MAX_TEXT]}") from None
    return _Reading(_object(document, what), node_of, now, what).read()


class _Reading:
    """One document being read."""

    def __init__(
        self, document: dict[str, Any], node_of: Mapping[str, str], now: float, what: str
    ) -> None:
        self._what = what
        self._now = now
        self._node_of = node_of
        self._responses = _object(document.get("responses") or {}, f"{what}: responses")
        if len(self._responses) > MAX_PODS:
            raise BadReply(f"{what}: {len(self._responses)} responses, more than {MAX_PODS}")
        self._problems: list[str] = []
        self._left_out = 0

    def read(self) -> MeasuredTrips:
        trips = tuple(self._all())
        if self._left_out:
            self._problems.append(f"and {self._left_out} more")
        return MeasuredTrips(trips, tuple(self._problems))

    def _all(self) -> Iterator[RoundTrip]:
        for name, response in self._responses.items():
            place = f"{self._what}: responses.{_printable(name)}"
            one = _object(response, place)
            source = self._node(name, one)
            if one.get("OK") is not True:
                self._problem(f"{_printable(source)} gave no answer{_why(one)}")
                continue
            check = _object(one.get("response") or {}, f"{place}.response")
            results = _object(check.get("podResults") or {}, f"{place}.response.podResults")
            if len(results) > MAX_PODS:
                raise BadReply(f"{place}: {len(results)} results, more than {MAX_PODS}")
            for other, found in results.items():
                trip = self._trip(source, other, _object(found, f"{place}.{_printable(other)}"))
                if trip is not None:
                    yield trip

    def _trip(self, source: str, name: str, result: dict[str, Any]) -> RoundTrip | None:
        target = self._node(name, result)
        pair = f"{_printable(source)} to {_printable(target)}"
        if result.get("OK") is not True:
            self._problem(f"{pair} failed{_why(result)}")
            return None
        value = result.get("response-time-ms", 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadReply(f"{self._what}: {pair}: response-time-ms is no number")
        if not 0 <= value <= MAX_RTT_S * 1000:  # NaN, too
            self._problem(f"{pair}: {str(value)[:MAX_TEXT]} ms is out of range")
            return None
        return RoundTrip(source, target, float(value) / 1000, self._age_s(result, pair))

    def _age_s(self, result: dict[str, Any], pair: str) -> float:
        """0 where the document does not say: Goldpinger 2 measures while it is asked."""
        text = result.get("PingTime")
        if text is None:
            return 0.0
        try:
            then = dt.datetime.fromisoformat(text)
            if then.tzinfo is None:
                raise ValueError("has no zone")
            # Its clock may be ahead of ours.
            return max(0.0, self._now - then.timestamp())
        except (TypeError, ValueError, OverflowError):
            raise BadReply(f"{self._what}: {pair}: PingTime is no date and time") from None

    def _node(self, name: str, result: dict[str, Any]) -> str:
        for key in (name, result.get("HostIP"), result.get("PodIP")):
            if isinstance(key, str) and key in self._node_of:
                return self._node_of[key]
        return name

    def _problem(self, text: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(text)
        else:
            self._left_out += 1


def _check_all(text: str) -> Url:
    try:
        url = Url(text)
        good = url.scheme in ("http", "https") and bool(url.host) and not url.user
    except ValueError:
        good = False
    if not good:
        fix = 'write "http://goldpinger:8080"'
        raise InvalidField("goldpinger.url", f"{text[:MAX_TEXT]!r} is no URL", fix)
    return url if url.path.endswith(PATH) else url / PATH[1:]


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadReply(f"{what}: no object")
    return value


def _why(result: dict[str, Any]) -> str:
    error = result.get("error")
    return f": {_printable(error)}" if isinstance(error, str) and error else ""


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:MAX_TEXT])
