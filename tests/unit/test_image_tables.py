"""Images as people are shown them: `tango get images`, and a node's line in `describe`."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from tango.cli.images import held_images, images_on, images_table, left_out
from tango.model.layers import HeldImage, ImageLayers, Layer, NodeImages
from tango.model.views import ImagesView, ImageView, SiteImages

MIB = 2**20


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


def test_each_image_with_where_it_is_and_what_is_wrong() -> None:
    app, base = "host:5000/app", Layer(digest("b"), 30 * MIB)
    v1 = ImageLayers(digest("1"), (base, Layer(digest("c"), MIB)), digest("1"))
    v2 = ImageLayers(digest("2"), (base,), digest("2"))
    told = (
        NodeImages(
            "n1", (HeldImage((f"{app}:v1", f"{app}@{v1.digest}"), size_bytes=9 * MIB),), 1e6
        ),
        NodeImages("n2", (HeldImage((f"{app}:v2", f"{app}@{v2.digest}")),), problem="s: away"),
    )
    view = ImagesView(
        (SiteImages("s1", told),),
        (
            ImageView(f"{app}:v1", v1, 12.4),
            ImageView(f"{app}@{v2.digest}", v2, 3.0),
            ImageView("host:5000/gone:1", None, None, "[red]does not have it"),
        ),
    )
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(images_table(view))
    rows = [line.split() for line in console.export_text().splitlines()]
    named = {row[0]: row[1:] for row in rows}
    assert named[f"{app}:v1"] == ["2", "31.0", "MiB", "n1", "1", "12", "s"]
    assert named[f"{app}:v2"] == ["-", "-", "n2", "0", "-"]
    assert named["host:5000/gone:1"] == ["-", "-", "-", "0", "-", "[red]does", "not", "have", "it"]
    assert not [name for name in named if "@" in name]
    assert left_out(view) == "1 more by digest (-o json)"
    away = replace(view, images=(replace(view.images[1], content=None, problem="away"),))
    assert left_out(away) == "1 more by digest (-o json), 1 with a problem, such as away"
    assert left_out(ImagesView(())) == ""
    found = images_on(view, "s1", "n1")
    assert held_images(found) == "1, 9.0 MiB unpacked, downloads 976.6 KiB/s"
    assert held_images(images_on(view, "s1", "n2")) == "1, 0 B unpacked (s: away)"
    assert held_images(images_on(view, "s2", "n2")) == ""
