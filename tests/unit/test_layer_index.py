"""The layer index: what is due when, what changed, and what a node holds by it."""

from __future__ import annotations

import pytest

from tango.algorithms.placement.layer_index import LayerIndex, held_layers, held_references
from tango.algorithms.placement.layers import required_layers, score_node
from tango.model.image import parse_image
from tango.model.layers import HeldImage, ImageLayers, Layer, NodeImages

MIB = 2**20
BASE, APP_1, APP_2, OTHER = (
    Layer(f"sha256:{letter * 64}", size * MIB)
    for letter, size in zip("abcd", (30, 40, 41, 5), strict=True)
)
V1 = ImageLayers("sha256:" + "1" * 64, (BASE, APP_1), "sha256:" + "1" * 64)
V2 = ImageLayers("sha256:" + "2" * 64, (BASE, APP_2), "sha256:" + "e" * 64)
TAG = parse_image("host:5000/app:1")
PINNED = TAG.at(V1.digest)


def known(image: ImageLayers = V1) -> LayerIndex:
    index = LayerIndex(refresh_s=60, forget_s=1000, max_images=3)
    assert index.want(TAG, 0.0)
    index.resolved(TAG, image, 0.0)
    return index


def test_a_new_image_is_due_at_once_and_then_each_interval() -> None:
    index = LayerIndex(refresh_s=60)
    assert index.next_due() is None
    assert index.layers(TAG) is None
    index.want(TAG, 5.0)
    assert index.due(5.0) == (TAG,)
    change = index.resolved(TAG, V1, 6.0)
    assert change is not None
    assert (change.before, change.after, change.added, change.removed) == (
        "", V1.digest, V1.layers, (),
    )  # fmt: skip
    assert index.due(65.9) == ()
    assert index.next_due() == 66.0
    index.want(TAG, 65.0)  # asked for again: no reason to look earlier
    assert index.due(66.0) == (TAG,)
    index.unchanged(TAG, 66.0)
    assert index.due(125.9) == ()


def test_a_digest_is_due_only_until_it_is_known() -> None:
    index = LayerIndex()
    index.want(PINNED, 0.0)
    assert index.due(0.0) == (PINNED,)
    index.resolved(PINNED, V1, 0.0)
    assert index.due(1e9) == ()
    assert index.next_due() is None


def test_a_change_in_the_registry_is_seen_without_a_restart() -> None:
    index = known()
    held = held_layers(NodeImages("n1", (HeldImage((str(PINNED),), V1.digest),)), index)
    before = index.revision
    change = index.resolved(TAG, V2, 60.0)
    assert change is not None
    assert (change.image, change.before, change.after) == (str(TAG), V1.digest, V2.tag_digest)
    assert (change.added, change.removed) == ((APP_2,), (APP_1,))
    assert index.revision > before
    required = required_layers([index.layers(TAG)])
    assert score_node(required, held, 0.1, 0.1).missing_bytes == APP_2.size_bytes
    assert index.resolved(TAG, V2, 120.0) is None
    assert index.revision == before + 1


def test_what_fails_is_asked_again_with_backoff_and_stays_known() -> None:
    index = known()
    waits = []
    now = 60.0
    for _ in range(8):
        assert index.failed(TAG, "registry is down", now) is None
        due = index.next_due()
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]
    assert index.layers(TAG) == V1
    [entry] = index.entries(100.0)
    assert (entry.reference, entry.problem, entry.age_s) == (TAG, "registry is down", 100.0)
    index.resolved(TAG, V1, now)
    [entry] = index.entries(now + 7)
    assert (entry.problem, entry.age_s) == ("", 7.0)
    index.failed(TAG, "busy", now, retry_after_s=42.0)
    assert index.next_due() == now + 42


def test_an_image_that_is_gone_is_unknown() -> None:
    index = known()
    change = index.failed(TAG, "not found", 60.0, gone=True)
    assert change is not None
    assert (change.before, change.after, change.removed) == (V1.digest, "", V1.layers)
    assert index.layers(TAG) is None
    assert index.by_digest(V1.digest) is None
    assert index.failed(TAG, "not found", 65.0, gone=True) is None


def test_an_image_is_found_by_the_digest_of_its_manifest_and_of_its_index() -> None:
    index = known(V2)
    assert index.by_digest(V2.digest) == V2
    assert index.by_digest(V2.tag_digest) == V2
    assert index.layers(TAG.at(V2.tag_digest)) == V2
    other = parse_image("host:5000/app:latest")
    index.want(other, 0.0)
    index.resolved(other, V2, 0.0)
    index.failed(TAG, "not found", 60.0, gone=True)
    assert index.by_digest(V2.digest) == V2, "another tag still points to it"


def test_what_nobody_wants_is_forgotten_and_the_index_has_an_end() -> None:
    index = known()
    others = [parse_image(f"other{number}") for number in range(3)]
    assert index.want(others[0], 500.0)
    assert index.want(others[1], 500.0)
    assert not index.want(others[2], 900.0), "full"
    assert index.want(others[2], 1000.0), "the first one is old enough to go"
    assert index.layers(TAG) is None
    assert index.by_digest(V1.digest) is None
    assert len(index) == 3
    assert index.resolved(TAG, V1, 1001.0) is None, "an answer that comes late"
    assert index.failed(TAG, "late", 1001.0) is None
    index.unchanged(TAG, 1001.0)
    assert len(index) == 3


@pytest.mark.parametrize(
    ("held", "layers"),
    [
        (HeldImage(layers=(OTHER.digest,)), {OTHER.digest}),
        (HeldImage(digest=V1.digest), {BASE.digest, APP_1.digest}),
        (HeldImage((f"host:5000/app@{V1.digest}", "host:5000/app:1")), {BASE.digest, APP_1.digest}),
        (HeldImage(("host:5000/app:1",)), {BASE.digest, APP_1.digest}),
        # It holds what the tag was once: not what the tag is now.
        (HeldImage(("host:5000/app:1",), "sha256:" + "9" * 64), set()),
        (HeldImage(("<none>:<none>", "Not A Name")), set()),
        (HeldImage(), set()),
    ],
)
def test_layers_of_a_node(held: HeldImage, layers: set[str]) -> None:
    assert held_layers(NodeImages("n1", (held,)), known()) == layers


def test_names_of_every_form_match() -> None:
    index = LayerIndex()
    for text in ("nginx", "host:5000/team/nginx", f"quay.io/nginx@{V1.digest}"):
        reference = parse_image(text)
        index.want(reference, 0.0)
        index.resolved(reference, V1, 0.0)
    for name in (
        "nginx", "nginx:latest", "docker.io/library/nginx:latest", "index.docker.io/nginx",
        "host:5000/team/nginx:latest", f"quay.io/nginx:1.27@{V1.digest}",
    ):  # fmt: skip
        report = NodeImages("n1", (HeldImage((name,)),))
        assert held_layers(report, index) == {BASE.digest, APP_1.digest}, name


def test_what_to_look_up_for_a_node() -> None:
    report = NodeImages(
        "n1",
        (
            HeldImage(("host:5000/app:1", f"host:5000/app@{V1.digest}"), V2.digest),
            HeldImage(("nginx:1",), V2.digest),
            HeldImage(("redis:7",)),
            HeldImage(("known:1",), layers=(BASE.digest,)),
            HeldImage(("<none>",), V2.digest),
        ),
    )
    assert held_references(report) == (
        PINNED,
        parse_image("nginx").at(V2.digest),
        parse_image("redis:7"),
    )
