"""Pages of a listing of images: together they are the listing, whatever comes and goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tango.model.errors import InvalidField
from tango.model.layers import HeldImage, ImageLayers, Layer, NodeImages
from tango.model.views import ImagesView, ImageView, SiteImages
from tango.v1 import central_service_pb2 as pb
from tango.wire.image_pages import MAX_PAGE, PAGE_BYTES, joined, page_of

NAMES = st.sampled_from(("a:1", "b:1", "b:2", "c@sha256:0"))
HELD = st.builds(
    HeldImage,
    names=st.lists(NAMES, unique=True, max_size=2).map(tuple),
    digest=st.sampled_from(("", "sha256:1")),
    size_bytes=st.integers(0, 2),
)
IMAGES = st.lists(HELD, max_size=4, unique_by=lambda one: (frozenset(one.names), one.digest))
KNOWN = st.builds(
    ImageView,
    image=NAMES,
    content=st.none() | st.just(ImageLayers("sha256:2", (Layer("sha256:3", 4),))),
    problem=st.sampled_from(("", "away")),
)


@st.composite
def views(draw: st.DrawFn) -> ImagesView:
    sites = []
    for edge in draw(st.lists(st.sampled_from("stu"), unique=True, max_size=3)):
        nodes = tuple(
            NodeImages(name, tuple(draw(IMAGES)), None, draw(st.just("")))
            for name in draw(st.lists(st.sampled_from(("n1", "n2", "n3")), unique=True))
        )
        sites.append(SiteImages(edge, nodes))
    known = draw(st.lists(KNOWN, unique_by=lambda one: one.image))
    return ImagesView(tuple(sites), tuple(known), draw(st.sampled_from(("", "no registry"))))


def pages_of(
    view: ImagesView, size: int, then: Callable[[], ImagesView] | None = None
) -> list[pb.ListImagesResponse]:
    """then: what is listed after each page, in place of the same again."""
    pages = [page_of(view, "", size, "")]
    while token := pages[-1].next_page_token:
        pages.append(page_of(then() if then is not None else view, "", size, token))
        assert len(pages) < 1000
    return pages


def plain(view: ImagesView) -> tuple[object, ...]:
    """What it says, in whatever order."""
    sites = {
        site.edge: {
            node.node: (Counter(map(repr, node.images)), node.problem) for node in site.nodes
        }
        for site in view.sites
    }
    return sites, {one.image: one for one in view.images}, view.note


def held(view: ImagesView) -> list[tuple[str, str, HeldImage]]:
    return [
        (site.edge, node.node, one)
        for site in view.sites
        for node in site.nodes
        for one in node.images
    ]


@given(view=views(), size=st.integers(0, 7))
def test_pages_are_the_listing(view: ImagesView, size: int) -> None:
    pages = pages_of(view, size)
    assert plain(joined(pages)) == plain(view)
    for page in pages[:-1]:
        items = sum(
            max(1, sum(max(1, len(node.images)) for node in site.nodes)) for site in page.sites
        )
        assert items + len(page.images) == size


@given(view=views(), other=views(), size=st.integers(1, 3))
def test_what_stays_is_there_once_whatever_comes_and_goes(
    view: ImagesView, other: ImagesView, size: int
) -> None:
    turns = iter((other, view) * 500)
    found = joined(pages_of(view, size, lambda: next(turns)))
    both = Counter(map(repr, held(view))) & Counter(map(repr, held(other)))
    either = Counter(map(repr, held(view))) | Counter(map(repr, held(other)))
    told = Counter(map(repr, held(found)))
    if all(count == 1 for count in either.values()):
        assert both <= told <= either
    stay = {one.image for one in view.images} & {one.image for one in other.images}
    assert stay <= {one.image for one in found.images}


def test_a_page_is_of_a_size_that_a_message_may_have_whatever_is_asked_for() -> None:
    layers = tuple(f"sha256:{n:064}" for n in range(1000))
    images = tuple(HeldImage((f"big:{n}",), "", 1, layers) for n in range(100))
    view = ImagesView((SiteImages("s", (NodeImages("n1", images, 1e6, "slow"),)),))
    for size in (0, 5000):
        pages = pages_of(view, size)
        assert len(pages) > 1
        assert all(page.ByteSize() < 2 * PAGE_BYTES for page in pages)
        assert plain(joined(pages)) == plain(view)
        (node,) = joined(pages).sites[0].nodes
        assert (node.bandwidth_bytes_per_s, node.problem) == (1e6, "slow")
    many = replace(view, sites=(SiteImages("s", tuple(map(small, range(2 * MAX_PAGE)))),))
    assert len(page_of(many, "", 2 * MAX_PAGE, "").sites[0].nodes) == MAX_PAGE


def small(number: int) -> NodeImages:
    return NodeImages(f"n{number:05}", (), None, "")


@pytest.mark.parametrize("token", ["?", "YQ==", "W10=", "e30=", "WyIiLDIsIiIsIiIsIiJd", "é" * 9])
def test_a_token_of_no_page_is_refused(token: str) -> None:
    with pytest.raises(InvalidField, match="page_token: is of no page; give the `next_page_token`"):
        page_of(ImagesView(()), "", 0, token)


def test_a_token_of_another_listing_is_refused() -> None:
    view = ImagesView(tuple(SiteImages(edge, ()) for edge in ("s", "t")))
    token = page_of(view, "", 1, "").next_page_token
    with pytest.raises(InvalidField, match="page_token: is of all sites; ask for the same `edge`"):
        page_of(view, "s", 1, token)
