"""Reads typed fields from a request object; what is wrong is refused with the field's name."""

from __future__ import annotations

import re

from .protocol import Refused, invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .protocol import Json

_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_MISSING = object()


def shape(value: object) -> str:
    """What a JSON value is, in JSON's words, for error texts."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")


def only(fields: Json, allowed: Iterable[str], inside: str = "") -> None:
    """Refuse fields that nobody knows: a misspelt one must not be silently without effect."""
    for name in fields:
        if name not in allowed:
            raise invalid((inside + name)[:100], f"unknown field (known: {', '.join(allowed)})")


def integer(fields: Json, name: str, low: int, high: int, default: int | None = None) -> int:
    """A whole number in low..high; the default where absent or null, refused if there is none."""
    value = optional_integer(fields, name, low, high)
    if value is None:
        value = default
    if value is None:
        raise invalid(name, "is required")
    return value


def optional_integer(fields: Json, name: str, low: int, high: int, inside: str = "") -> int | None:
    """A whole number in low..high, or None where absent or null."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(inside + name, f"must be a whole number, not {shape(value)}")
    if not low <= value <= high:
        raise invalid(inside + name, f"must be in {low}..{high}, not {value}"[:200])
    return value


def seconds(fields: Json, name: str, high: float, default: float) -> float:
    """Seconds in 0..high."""
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid(name, f"must be a number of seconds, not {shape(value)}")
    if not 0 <= value <= high:
        raise invalid(name, f"must be in 0..{high:g} seconds")
    return float(value)


def boolean(fields: Json, name: str, *, default: bool) -> bool:
    """true or false."""
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(name, f"must be true or false, not {shape(value)}")
    return value


def text(value: object, name: str) -> str:
    """A string that the kernel can take: no NUL, and encodable as a file name."""
    if not isinstance(value, str):
        raise invalid(name, f"must be a string, not {shape(value)}")
    if "\0" in value:
        raise invalid(name, "must not hold a NUL character")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise invalid(name, "holds a lone surrogate, which is no character") from None
    return value


def texts(fields: Json, name: str) -> list[str] | None:
    """A list of such strings, or None where absent or null."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise invalid(name, f"must be a list of strings, not {shape(value)}")
    return [text(item, f"{name}[{index}]") for index, item in enumerate(value)]


def mapping(fields: Json, name: str) -> Json:
    """An object; empty where absent or null."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(name, f"must be an object, not {shape(value)}")
    return value


def absolute_path(value: object, name: str) -> str:
    """An absolute path without '..'."""
    path = text(value, name)
    if not path.startswith("/"):
        raise invalid(name, f"must be an absolute path, not {path!r}"[:300])
    if ".." in path.split("/"):
        raise invalid(name, f"must not hold '..': {path!r}"[:300])
    return path


def key(fields: Json, name: str = "key") -> str:
    """An attempt id."""
    value = fields.get(name, _MISSING)
    if value is _MISSING:
        raise invalid(name, "is required")
    if not isinstance(value, str) or not _KEY.match(value):
        raise invalid(name, "must be 1 to 128 characters of A-Z a-z 0-9 . _ -")
    return value


def is_key(value: str) -> bool:
    """True for an attempt id."""
    return _KEY.match(value) is not None


def request_id(message: Json) -> int:
    """The id of a request; it comes back in the reply."""
    value = message.get("id")
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**53) <= value <= 2**53:
        raise Refused("INVALID", "id: must be a whole number within 53 bits", field="id")
    return value
