"""What was meant by a name that is none: one spelled otherwise, or one of another place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from google.protobuf.descriptor import FieldDescriptor

MAX_MEANT = 3
# Of names of another place: these must be more alike, for their own place is more likely.
ELSEWHERE_CUTOFF = 0.8


def plain(name: str) -> str:
    """The same for both spellings of JSON: requireFit, require_fit, RequireFit."""
    return name.replace("_", "").replace("-", "").lower()


def hint(
    name: str, known: Sequence[FieldDescriptor], elsewhere: Mapping[str, str], nothing: str = ""
) -> str:
    """A fix for a name that is none of `known`.

    elsewhere: by `plain` names of other places, what to do. nothing: for where nothing is known.
    """
    given = plain(name)
    if given in elsewhere:
        return elsewhere[given]
    fields = {plain(field.name): field for field in known}
    alike = [key for key in fields if given and key.startswith(given)][:MAX_MEANT]
    near = alike or difflib.get_close_matches(given, fields, 1)
    if near:
        spelled = [_spelled(fields[key], name) for key in near]
        return f"did you mean {' or '.join(map(repr, spelled))}?"
    for field in fields.values():
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry:
            continue
        if given in map(plain, inner.fields_by_name):
            each = "each of " if field.is_repeated else ""
            return f"it belongs into {each}{_spelled(field, name)!r}"
    for key in difflib.get_close_matches(given, elsewhere, 1, ELSEWHERE_CUTOFF):
        return elsewhere[key]
    return f"known: {', '.join(field.json_name for field in known)}" if known else nothing


def _spelled(field: FieldDescriptor, name: str) -> str:
    """In the manner in which the other name was."""
    return str(field.name if "_" in name else field.json_name)
