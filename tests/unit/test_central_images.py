"""The central master places tasks by the images that nodes hold and registries know."""

from __future__ import annotations

from dataclasses import replace

import pytest
from central_bench import MIB, Bench, node, spec

from tango.adapters.policies import batch_policy
from tango.controllers.central.images import Images
from tango.model.decision import facts
from tango.model.decision_text import sentence
from tango.model.errors import InvalidField
from tango.model.events import ImagesLearned
from tango.model.explanation import Subject
from tango.model.image import in_full
from tango.model.job import JobSpec
from tango.model.layers import HeldImage, ImageLayers, Layer, NodeImages
from tango.model.placement_profile import Profile, Use
from tango.model.plan import BatchTask, Gang, ImageFacts

BASE, APP_1, APP_2, OTHER = (
    Layer(f"sha256:{letter * 64}", size * MIB)
    for letter, size in zip("abcd", (60, 30, 31, 5), strict=True)
)


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


V1 = ImageLayers(digest("1"), (BASE, APP_1), digest("1"))
V2 = ImageLayers(digest("2"), (BASE, APP_2), digest("e"))
TAG = "host:5000/team/app:1"
NEXT = "host:5000/team/app:2"
APP = "host:5000/team/app"


def held(*names: str, **more: object) -> HeldImage:
    return HeldImage(names, **more)  # type: ignore[arg-type]


def told(name: str, *images: HeldImage, **more: object) -> NodeImages:
    return NodeImages(name, images, **more)  # type: ignore[arg-type]


def gang(*images: str) -> Gang:
    return Gang("j", 0, (BatchTask("j", 0, 1, 1, images=in_full(images)),))


def facts_of(images: Images, *names: str) -> ImageFacts:
    return images.facts((gang(*names),))


def test_a_node_has_what_its_digest_says_however_the_tag_has_moved() -> None:
    images = Images()
    images.node_told("e1", told("n1", held(TAG, f"{APP}@{V1.digest}")))
    images.node_told("e1", told("n2", held(TAG)))  # built there: nobody names a digest
    assert facts_of(images, TAG).whole[TAG] == {("e1", "n1"), ("e1", "n2")}, "by its name"
    assert facts_of(images, TAG).layers == {}
    images.learned(((TAG, V1),))
    assert facts_of(images, TAG).whole[TAG] == {("e1", "n1"), ("e1", "n2")}
    assert images.about(TAG).held == {("e1", "n1"): (BASE.digest, APP_1.digest)}
    # Somebody pushes: n1 has the old content, whose layers are known as those of its digest.
    images.learned(((TAG, V2), (f"{APP}@{V1.digest}", V1)))
    facts = facts_of(images, TAG)
    assert facts.whole[TAG] == {("e1", "n2")}
    assert images.about(TAG).held == {("e1", "n1"): (BASE.digest,)}
    assert facts.holders == {BASE.digest: {("e1", "n1")}, APP_2.digest: frozenset()}
    assert facts.layers[TAG] == ((BASE.digest, 60 * MIB), (APP_2.digest, 31 * MIB))
    # n1 pulls it: by the digest of the index.
    images.node_told("e1", told("n1", held(TAG, f"{APP}@{V2.tag_digest}")))
    assert facts_of(images, TAG).whole[TAG] == {("e1", "n1"), ("e1", "n2")}


def test_layers_are_found_in_other_images_and_where_an_engine_names_them() -> None:
    images = Images()
    images.learned(((TAG, V1), (NEXT, V2)))
    images.node_told("e1", told("n1", held(f"{APP}@{V1.digest}")))
    images.node_told("e2", told("n1", HeldImage(("x:1",), layers=(APP_2.digest,))))
    facts = facts_of(images, NEXT)
    assert facts.whole[NEXT] == frozenset()
    assert facts.holders == {BASE.digest: {("e1", "n1")}, APP_2.digest: {("e2", "n1")}}


def test_a_reference_by_digest_needs_no_registry() -> None:
    images = Images()
    pinned = f"{APP}@{V1.digest}"
    images.node_told("e1", told("n1", HeldImage((TAG,), digest=V1.digest)))
    assert facts_of(images, pinned).whole[pinned] == {("e1", "n1")}


def test_what_a_node_lost_and_a_site_that_is_run_anew_are_forgotten() -> None:
    images = Images()
    images.learned(((TAG, V1),))
    images.node_told("e1", told("n1", held(TAG, f"{APP}@{V1.digest}"), bandwidth_bytes_per_s=9.0))
    images.node_told("e2", told("n1", held(TAG, f"{APP}@{V1.digest}")))
    assert facts_of(images, TAG).bandwidth == {("e1", "n1"): 9.0}
    images.node_told("e2", told("n1"))
    assert facts_of(images, TAG).whole[TAG] == {("e1", "n1")}
    images.forget_site("e1")
    assert facts_of(images, TAG).whole[TAG] == frozenset()
    assert images.told.keys() == {("e2", "n1")}
    images.learned(((TAG, None),))
    assert facts_of(images, TAG).layers == {}
    for book in ("_by_digest", "_by_tag"):
        assert not getattr(images, book), f"{book} keeps what nobody holds"


# ---- the controller


def with_images(*images: str, name: str = "job", memory: int = 64 * MIB) -> JobSpec:
    plain = spec(name, memory=memory)
    return replace(plain, tasks=(replace(plain.tasks[0], images=images),))


LAYERS = (Use("fit", 0.1), Use("image"), Use("layers", 2.0))


def profile_bench(*uses: Use) -> Bench:
    pytest.importorskip("numpy", reason="profiles need the extra `solver`")
    bench = Bench(policy=batch_policy("profile", Profile("layers", uses or LAYERS)))
    bench.central.policy = "profile"
    return bench


def test_a_task_goes_where_its_layers_are_and_follows_a_push() -> None:
    bench = profile_bench()
    bench.edge_up(node("n1"), node("n2"), node("n3"))
    bench.say(told("n2", held(TAG, f"{APP}@{V1.digest}")))
    bench.say(told("n3", held("x:1", f"host:5000/x@{digest('3')}")))
    bench.feed(ImagesLearned(((TAG, V1), (f"{APP}@{V1.digest}", V1))))
    bench.submit("j1", with_images("host:5000/team/app:1"))
    assert bench.job("j1").tasks[0].node == "n2"
    (found,) = bench.central.explain("j1", (Subject.JOB,), 10, bench.now)
    (placed,) = found.records
    scores = {
        plugin: [mine, other] for plugin, _, mine, other in facts(placed)["placement"]["scores"]
    }
    assert (scores["layers"], scores["image"]) == ([100.0, 0.0], [100.0, 0.0])
    assert "layers 100 against 0 (x2)" in sentence(placed)
    # The tag moves to content of which n3 has the larger part.
    moved = ImageLayers(digest("4"), (OTHER, APP_2), digest("4"))
    large = ImageLayers(digest("3"), (APP_2,), digest("3"))
    bench.feed(ImagesLearned(((TAG, moved), (f"host:5000/x@{digest('3')}", large))))
    bench.submit("j2", with_images(TAG))
    bench.advance(1.0)
    assert bench.job("j2").tasks[0].node == "n3"


def test_what_is_missing_comes_sooner_over_a_faster_line() -> None:
    bench = profile_bench(Use("fit", 0.01), Use("download"))
    bench.edge_up(node("n1"), node("n2"), node("n3"))
    bench.say(told("n1", held(f"{APP}@{V1.digest}"), bandwidth_bytes_per_s=1.0 * MIB))
    bench.say(told("n2", bandwidth_bytes_per_s=12.0 * MIB))
    bench.feed(ImagesLearned(((NEXT, V2), (f"{APP}@{V1.digest}", V1))))
    # n1 lacks 31 MiB, n2 all 91, and of n3 nobody knows anything.
    bench.submit("j1", with_images(NEXT))
    assert bench.job("j1").tasks[0].node == "n2"


def test_lr_scheduler_prefers_the_warm_node() -> None:
    bench = profile_bench(Use("fit", 0.01), Use("lr-scheduler", 2.0), Use("balanced"))
    bench.edge_up(node("n1"), node("n2"))
    bench.say(told("n2", held(f"{APP}@{V1.digest}")))
    bench.feed(ImagesLearned(((TAG, V1), (f"{APP}@{V1.digest}", V1))))
    bench.submit("j1", with_images(TAG))
    assert bench.job("j1").tasks[0].node == "n2"
    assert bench.snapshots[-1].images is not None
    assert bench.snapshots[-1].images.holders[BASE.digest] == {("e1", "n2")}


def test_an_unknown_image_is_no_error_and_scores_nothing() -> None:
    bench = profile_bench()
    bench.edge_up(node("n1"))
    bench.submit("j1", with_images("nobody.example/knows:it"))
    assert bench.job("j1").tasks[0].node == "n1"
    assert bench.snapshots[-1].images is not None
    assert not bench.snapshots[-1].images.layers


def test_without_images_snapshots_have_none() -> None:
    bench = profile_bench()
    bench.edge_up(node("n1"))
    bench.say(told("n1", held(TAG)))
    bench.submit("j1")
    assert bench.snapshots[-1].images is None


def test_an_edge_that_returns_keeps_its_word_and_a_new_one_is_asked_again() -> None:
    bench = profile_bench()
    bench.edge_up(node("n1"))
    bench.say(told("n1", held(TAG)))
    bench.edge_down()
    bench.edge_up(node("n1"), session=2)
    assert set(bench.central.node_images()) == {("e1", "n1")}
    bench.edge_up(node("n1"), session=3, incarnation=2)
    assert not bench.central.node_images()


def test_images_that_no_reference_can_be_are_refused_at_the_door() -> None:
    for images, problem in (
        (("Team/App:1",), "lower case"),
        (("https://host/app",), "is a URL"),
        (("nginx", "docker.io/library/nginx:latest"), "once more"),
        (tuple(f"app:{number}" for number in range(33)), "at most 32"),
    ):
        with pytest.raises(InvalidField, match=problem) as error:
            with_images(*images).validate()
        assert error.value.field.startswith("tasks[0].images")


def test_jobs_that_have_ended_want_no_images() -> None:
    bench = profile_bench()
    bench.submit("j1", with_images(TAG, "nginx"))
    assert bench.central.images_of_jobs() == {TAG, "nginx"}
    bench.cancel("j1")
    assert bench.central.images_of_jobs() == frozenset()
