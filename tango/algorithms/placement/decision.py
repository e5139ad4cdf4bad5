"""What was decided about a pod and why: tuples, put into words only when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tango.algorithms.placement.arrays import Bools
from tango.model.fast_init import fast_init

MAX_NAMED = 5


@fast_init
@dataclass(frozen=True, slots=True)
class Chosen:
    """Where one pod goes. node: "" for nowhere; then `reason` says why. cores: ids of its own.

    score: 0 to 100, higher is better. scores: (plugin, weight, of the node, of the runner-up).
    removed: (plugin, why, how many, which: packed bits in the order of the cluster's names), each
    node with the first filter that took it out. looked: how many nodes there were.
    """

    pod: str
    node: str
    cores: tuple[int, ...] = ()
    score: float = 0.0
    runner_up: str = ""
    runner_up_score: float = 0.0
    scores: tuple[tuple[str, float, float, float], ...] = ()
    removed: tuple[tuple[str, str, int, bytes], ...] = ()
    looked: int = 0

    @property
    def reason(self) -> str:
        """Why it goes nowhere, "" if it goes somewhere."""
        if self.node:
            return ""
        if not self.looked:
            return "there is no node"
        parts = (f"{count} {why}" for _, why, count, _ in self.removed)
        return f"none of {self.looked} nodes will do: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes where, in the order of placing. unplaced: (gang, what its pod met) of the others.

    The pods of a gang are all in `chosen`, or none is.
    """

    chosen: tuple[Chosen, ...]
    unplaced: tuple[tuple[str, Chosen], ...] = ()


def packed(mask: Bools) -> bytes:
    """One bit a node, as `Chosen.removed` keeps it."""
    return np.packbits(mask).tobytes()


def named(bits: bytes, names: Sequence[str]) -> tuple[str, ...]:
    """The nodes behind packed bits. names: of the cluster that was looked at."""
    mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=len(names))
    return tuple(names[index] for index in np.flatnonzero(mask).tolist())


def sentence(chosen: Chosen, names: Sequence[str]) -> str:
    """What was decided and why, for people."""
    if not chosen.node:
        return f"{chosen.pod} goes nowhere: {chosen.reason}"
    told = [f"{chosen.pod} goes to {chosen.node} with {chosen.score:.1f} of 100"]
    if chosen.cores:
        told.append(f"on cores {','.join(map(str, chosen.cores))}")
    if chosen.runner_up:
        told.append(f"before {chosen.runner_up} with {chosen.runner_up_score:.1f}")
        marks = (
            f"{plugin} {mine:.0f} against {other:.0f} (x{weight:g})"
            for plugin, weight, mine, other in chosen.scores
        )
    else:
        told.append("no other node would do")
        marks = (f"{plugin} {mine:.0f} (x{weight:g})" for plugin, weight, mine, _ in chosen.scores)
    told += [", ".join(marks)] if chosen.scores else []
    for _, why, count, bits in chosen.removed:
        some = named(bits, names)[:MAX_NAMED]
        more = f" and {count - len(some)} more" if count > len(some) else ""
        told.append(f"{', '.join(some)}{more} {why}")
    return "; ".join(told)
