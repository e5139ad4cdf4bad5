"""Whole numbers dealt out: in proportion to what there is room for, and fairly by wants."""

from __future__ import annotations

from collections.abc import Sequence


def split(total: int, room: Sequence[int]) -> list[int]:
    """`total` in proportion to `room` and never above it; sums to the smaller of both totals.

    Largest remainders get the odd ones (Hamilton's method), the first of equals first.
    """
    whole = sum(room)
    total = min(total, whole)
    if total <= 0:
        return [0] * len(room)
    parts = [total * one // whole for one in room]
    order = sorted(range(len(room)), key=lambda i: (-(total * room[i] % whole), i))
    for index in order[: total - sum(parts)]:
        parts[index] += 1
    return parts


def fair(total: int, wants: Sequence[int]) -> list[int]:
    """`total` dealt so that nobody gets more than it wants while another gets less (max-min).

    Sums to the smaller of `total` and all that is wanted; odd ones go to the larger wants.
    """
    parts = [0] * len(wants)
    left = max(0, total)
    order = sorted(range(len(wants)), key=lambda i: (wants[i], i))
    for done, index in enumerate(order):
        parts[index] = min(wants[index], left // (len(wants) - done))
        left -= parts[index]
    return parts
