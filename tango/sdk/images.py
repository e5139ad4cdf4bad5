"""What is known of images, from the central master's listing and as it counts it; no numpy."""

from __future__ import annotations

from tango.controllers.central.images import AboutImage, Images
from tango.model.errors import InvalidField
from tango.model.image import parse_image
from tango.model.views import ImagesView


def about_images(view: ImagesView) -> tuple[tuple[str, AboutImage], ...]:
    """Every image that nodes hold under a tag, or that somebody asked a registry about, by name."""
    books = Images()
    books.learned((one.image, one.content) for one in view.images)
    for site in view.sites:
        for told in site.nodes:
            books.node_told(site.edge, told)
    names = sorted({one.image for one in view.images} | books.tags())
    return tuple((name, books.about(name)) for name in names if _is_reference(name))


def _is_reference(name: str) -> bool:
    """What a worker says of its node may be anything."""
    try:
        return str(parse_image(name)) == name
    except InvalidField:
        return False
