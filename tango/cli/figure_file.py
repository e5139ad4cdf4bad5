"""The file of a picture that matplotlib draws: PNG, SVG or PDF, as its name ends."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tango.cli.whole_file import check_place, whole_file
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


def check_plot(path: Path) -> None:
    """Refuse before a run what would fail after it: a name that ends in no kind of picture, no
    matplotlib, no place to write to. Raises InvalidField.
    """
    if path.suffix.lower() not in FORMATS:
        named = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise InvalidField("plot", f"{named}, which is no picture", f"use {ENDINGS}", str(path))
    if importlib.util.find_spec("matplotlib") is None:
        fix = "install the extra `plot` (in a clone: pip install '.[plot]')"
        raise InvalidField("plot", "drawing it needs matplotlib, which is not installed", fix)
    check_place(path, "plot")


def save_figure(figure: Figure, path: Path) -> None:
    """Write it as the name ends; the file is there whole or not at all.

    Raises InvalidField as `check_plot` does, and where the file cannot be written.
    """
    check_plot(path)
    import matplotlib as mpl

    kind, metadata = FORMATS[path.suffix.lower()]
    # Names within an SVG are drawn at random unless a salt is set.
    with whole_file(path, "plot") as part, mpl.rc_context({"svg.hashsalt": "tango"}):
        figure.savefig(part, format=kind, metadata=metadata)
