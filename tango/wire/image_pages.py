"""Pages of ListImages: made of a listing by the central master, put together again by its clients.

An item is an image on a node, or an image by the word of its registry; they have one order, and a
page begins behind the last item of the one before. So what comes or goes between two pages makes
no item appear twice, and none that stays is left out.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from tango.model.errors import InvalidField
from tango.model.layers import HeldImage, NodeImages
from tango.model.views import ImagesView, ImageView, SiteImages
from tango.v1 import central_service_pb2 as pb
from tango.wire.convert_fields import text
from tango.wire.convert_images import (
    held_image_to_pb,
    image_view_from_pb,
    image_view_to_pb,
    node_images_from_pb,
    node_images_to_pb,
)

# Whatever is asked for: the most items of a page, and its size from where on nothing is added.
MAX_PAGE = 1000
PAGE_BYTES = 2**20

# (0, site, node, image on the node) or (1, "", "", image).
Place = tuple[int, str, str, str]


class _Item(NamedTuple):
    place: Place
    what: SiteImages | NodeImages | HeldImage | ImageView
    node: NodeImages | None = None


def page_of(view: ImagesView, edge: str, size: int, token: str) -> pb.ListImagesResponse:
    """The page of so many items behind that of the token, or the first. 0: as many as may be.

    edge: the site that was asked for, "" for all. Raises InvalidField for a token that no page of
    such a listing had.
    """
    after = _read(token, edge) if token else None
    page = pb.ListImagesResponse(note=text(view.note))
    most, count, n_bytes = min(size, MAX_PAGE) or None, 0, 0
    last: Place | None = None
    for item in _items(view):
        if after is not None and item.place <= after:
            continue
        if last is not None and (count == most or n_bytes >= PAGE_BYTES):
            page.next_page_token = _token(edge, last)
            break
        n_bytes += _add(page, item)
        count += 1
        last = item.place
    return page


def joined(pages: Iterable[pb.ListImagesResponse]) -> ImagesView:
    """The listing that these are all pages of. Raises InvalidField."""
    sites: dict[str, dict[str, NodeImages]] = {}
    images: dict[str, ImageView] = {}
    note = ""
    for page in pages:
        note = page.note
        images.update((one.image, image_view_from_pb(one)) for one in page.images)
        for site in page.sites:
            nodes = sites.setdefault(site.edge, {})
            for node in map(node_images_from_pb, site.nodes):
                before = nodes.get(node.node)
                held = before.images if before is not None else ()
                nodes[node.node] = replace(node, images=(*held, *node.images))
    found = tuple(SiteImages(edge, tuple(nodes.values())) for edge, nodes in sites.items())
    return ImagesView(found, tuple(images.values()), note)


def _items(view: ImagesView) -> Iterator[_Item]:
    """In their order."""
    for site in sorted(view.sites, key=lambda one: one.edge):
        if not site.nodes:
            yield _Item((0, site.edge, "", ""), site)
        for node in sorted(site.nodes, key=lambda one: one.node):
            if not node.images:
                yield _Item((0, site.edge, node.node, ""), node, node)
            for name, image in _named(node.images):
                yield _Item((0, site.edge, node.node, name), image, node)
    for view_of in sorted(view.images, key=lambda one: one.image):
        yield _Item((1, "", "", view_of.image), view_of)


def _named(images: Iterable[HeldImage]) -> list[tuple[str, HeldImage]]:
    """Each with a name of its own on its node, in the order of these; short, for URLs have ends."""
    seen: dict[str, int] = {}
    named = []
    for image in images:
        whole = " ".join((*sorted(image.names), image.digest))
        name = f"{min(image.names, default='')} {sha256(whole.encode()).hexdigest()[:16]}"
        seen[name] = seen.get(name, 0) + 1
        named.append((f"{name} {seen[name]}", image))
    return sorted(named, key=lambda one: one[0])


def _add(page: pb.ListImagesResponse, item: _Item) -> int:
    """How many bytes longer the page is, but for some each."""
    stage, edge, node, _ = item.place
    if stage:
        assert isinstance(item.what, ImageView)
        page.images.append(image_view_to_pb(item.what))
        return page.images[-1].ByteSize()
    n_bytes = 0
    if not page.sites or page.sites[-1].edge != edge:
        n_bytes += page.sites.add(edge=edge).ByteSize()
    site = page.sites[-1]
    if item.node is not None and (not site.nodes or site.nodes[-1].node != node):
        site.nodes.append(node_images_to_pb(replace(item.node, images=())))
        n_bytes += site.nodes[-1].ByteSize()
    if isinstance(item.what, HeldImage):
        site.nodes[-1].images.append(held_image_to_pb(item.what))
        n_bytes += site.nodes[-1].images[-1].ByteSize()
    return n_bytes


def _token(edge: str, place: Place) -> str:
    return base64.urlsafe_b64encode(json.dumps([edge, *place]).encode()).decode()


def _read(token: str, edge: str) -> Place:
    try:
        parts = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, ValueError, RecursionError):
        parts = None
    match parts:
        case [str(of), (0 | 1) as stage, str(site), str(node), str(name)]:
            if of != edge:
                told = f"is of {f'site {of}' if of else 'all sites'}"
                raise InvalidField("page_token", told, "ask for the same `edge` with each page")
            return int(stage), site, node, name
    raise InvalidField(
        "page_token", "is of no page", "give the `next_page_token` of the page before"
    )
