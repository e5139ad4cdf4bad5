"""The file of a picture that matplotlib draws: PNG, SVG or PDF, as its name ends."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tango.cli.whole_file import whole_file
from tango.model.errors import InvalidField

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# By the name's ending: matplotlib's format, and the entry with the time of writing, which is left
# out, so that the same figures give the same bytes.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("png", {}),
    ".svg": ("svg", {"Date": None}),
    ".pdf": ("pdf", {"CreationDate": None}),
}
ENDINGS = ".png, .svg or .pdf"
# Names within an SVG are drawn at random unless this is set.
_RULES = {"svg.hashsalt": "tango"}


def check_plot(path: Path) -> None:
    """Refuse before a run what would fail after it: no matplotlib, no folder to write to, a name
    that ends in no kind of picture. Raises InvalidField.
    """
    if path.suffix.lower() not in FORMATS:
        named = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise InvalidField("plot", f"{named}, which is no picture", f"use {ENDINGS}", str(path))
    if importlib.util.find_spec("matplotlib") is None:
        fix = "install the extra `plot` (in a clone: pip install '.[plot]')"
        raise InvalidField("plot", "drawing it needs matplotlib, which is not installed", fix)
    if not path.parent.is_dir():
        raise InvalidField("plot", f"there is no folder {path.parent}", "make it first", str(path))
    if path.is_dir():
        raise InvalidField("plot", "is a folder", "name a file", str(path))


def save_figure(figure: Figure, path: Path) -> None:
    """Write it as the name ends; the file is there whole or not at all.

    Raises InvalidField as `check_plot` does, and where the file cannot be written.
    """
    check_plot(path)
    import matplotlib as mpl

    kind, metadata = FORMATS[path.suffix.lower()]
    with whole_file(path, "plot") as part, mpl.rc_context(_RULES):
        figure.savefig(part, format=kind, metadata=metadata)
