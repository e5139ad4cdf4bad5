"""Adds to an edge's explanation what the workers concerned decided themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import replace

from tango.daemons.explaining import DECISIONS, bounded, explanation
from tango.daemons.logs_relay import LogLink, LogRelay
from tango.model.errors import TangoError
from tango.model.explanation import Explanation, Finding, Reason

PATIENCE_S = 2.0
# Workers that are asked for one explanation, at once.
MAX_ASKED = 16
MAX_BYTES = 2**20
# The year 2999: what a clock may show, and every machine can print.
MAX_TIME_S = 3.25e10


class WorkerDecisions:
    """Asks workers over the streams that logs come on. link_of: a node's stream, None if away."""

    def __init__(self, logs: LogRelay, link_of: Callable[[str], LogLink | None]) -> None:
        self._logs = logs
        self._link_of = link_of

    async def explained(self, finding: Finding, daemon: str, limit: int, now: float) -> Explanation:
        """The edge's finding with what its workers tell; who tells nothing, and why, is named."""
        found = explanation(finding, daemon, now)
        asked = finding.nodes[:MAX_ASKED]
        if not asked:
            return found
        answers = await asyncio.gather(*(self._ask(finding, node, limit) for node in asked))
        decisions = list(found.decisions)
        missing = list(found.missing)
        for reasons, remarks in answers:
            decisions += reasons
            missing += remarks
        if len(finding.nodes) > len(asked):
            missing.append(f"decisions of {len(finding.nodes) - len(asked)} more nodes")
        decisions.sort(key=lambda reason: reason.at_s)
        return bounded(replace(found, decisions=tuple(decisions), missing=tuple(missing)))

    async def _ask(self, finding: Finding, node: str, limit: int) -> tuple[list[Reason], list[str]]:
        link = self._link_of(node)
        if link is None:
            return [], [f"what the worker of {node} decided: the node is away"]
        target = f"{DECISIONS}{finding.subject.value}:{finding.name}:{limit}"
        data = b""
        try:
            async with (
                asyncio.timeout(PATIENCE_S),
                aclosing(self._logs.read(target, 0, follow=False, link=link)) as chunks,
            ):
                async for chunk in chunks:
                    data += chunk
                    if len(data) > MAX_BYTES:
                        return [], [f"what the worker of {node} decided: it tells too much"]
            return _parsed(data.splitlines(), node)
        except TimeoutError:
            return [], [f"what the worker of {node} decided: no answer in {PATIENCE_S:g} s"]
        except (TangoError, ValueError, KeyError, TypeError) as error:
            # An older version knows no such log; a broken one must not break the explanation.
            return [], [f"what the worker of {node} decided: {error}"]


def _parsed(lines: Iterable[bytes], node: str) -> tuple[list[Reason], list[str]]:
    reasons: list[Reason] = []
    missing: list[str] = []
    for line in lines:
        said = json.loads(line)
        if "missing" in said:
            missing += [f"of the worker of {node}: {what}" for what in said["missing"]]
        else:
            at_s, text, record = float(said["at_s"]), str(said["text"]), str(said["record"])
            if not 0 <= at_s <= MAX_TIME_S:
                raise ValueError(f"{at_s:g} is no time")
            json.loads(record)
            # Whatever it says of itself, it is that node's word.
            reasons.append(Reason(at_s, f"worker {node}", text, record))
    return reasons, missing
