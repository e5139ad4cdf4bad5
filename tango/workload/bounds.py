"""Range checks for numbers that people type: what is outside is an InvalidField that says so."""

from __future__ import annotations

import math

from tango.model.errors import InvalidField
from tango.model.units import format_number


def require_number(
    field: str, value: float, low: float, high: float, *, above: bool = False
) -> None:
    """Refuse what is not a finite number in [low, high], or in (low, high] with `above`.

    Raises InvalidField named `field`; True and False are not numbers here.
    """
    bounds = f"{format_number(low)} {'up ' if above else ''}to {format_number(high)}"
    wanted = f"a number {'above' if above else 'from'} {bounds}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidField(field, f"{value!r} is not a number", f"write {wanted}")
    if value > high or value < low or (above and value == low):
        raise InvalidField(field, f"{format_number(value)} is out of range", f"write {wanted}")


def require_whole(field: str, value: int, low: int, high: int) -> None:
    """Refuse what is not an int in [low, high]. Raises InvalidField named `field`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidField(field, f"{value!r} is not a whole number", f"write {low} to {high}")
    if not low <= value <= high:
        raise InvalidField(field, f"{value} is out of range", f"write {low} to {high}")
