"""Images for people: `tango get images`, and those of one node."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from tango.cli import tables
from tango.model.layers import NodeImages
from tango.model.units import format_memory
from tango.model.views import ImagesView
from tango.sdk.images import about_images

MAX_NAMED = 5


def images_table(view: ImagesView) -> Table:
    """Each image that has a tag; what is known by digest only is in `left_out`."""
    rows = []
    problems = {one.image: one for one in view.images}
    for name, about in about_images(view):
        if "@" in name:
            continue
        image, asked = about.image, problems.get(name)
        size = format_memory(image.size_bytes) if image is not None else "-"
        age = asked.age_s if asked is not None else None
        nodes = sorted(node for _, node in about.whole)
        more = f" and {len(nodes) - MAX_NAMED} more" if len(nodes) > MAX_NAMED else ""
        rows.append(
            (
                escape(name),
                str(len(image.layers)) if image is not None else "-",
                size,
                ", ".join(nodes[:MAX_NAMED]) + more or "-",
                str(len(about.held.keys() - about.whole)),
                f"{age:.0f} s" if age is not None else "-",
                escape(asked.problem) if asked is not None else "",
            )
        )
    headings = ("IMAGE", "LAYERS", "SIZE", "WHOLE ON", "PARTLY ON", "CHECKED", "PROBLEM")
    return tables.table(headings, rows)


def left_out(view: ImagesView) -> str:
    """What the table does not show: images by digest, which are those that nodes hold."""
    pinned = [one for one in view.images if "@" in one.image]
    problems = [one.problem for one in pinned if one.problem]
    if not pinned:
        return ""
    text = f"{len(pinned)} more by digest (-o json)"
    return f"{text}, {len(problems)} with a problem, such as {problems[0]}" if problems else text


def images_on(view: ImagesView, edge: str, node: str) -> NodeImages | None:
    """What the engine of one node holds; None where it reports none."""
    for site in view.sites:
        for told in site.nodes:
            if (site.edge, told.node) == (edge, node):
                return told
    return None


def held_images(told: NodeImages | None) -> str:
    """In one line."""
    if told is None:
        return ""
    size = sum(image.size_bytes for image in told.images)
    text = f"{len(told.images)}, {format_memory(size)} unpacked"
    if told.bandwidth_bytes_per_s is not None:
        text += f", downloads {format_memory(int(told.bandwidth_bytes_per_s))}/s"
    return text + (f" ({told.problem})" if told.problem else "")
