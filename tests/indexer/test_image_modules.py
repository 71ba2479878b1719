"""The modules that learn from pictures: titles from pictures, and a visual embedding."""

from __future__ import annotations

import sys
from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest
from builders import item
from pictured import COLOURS, KINDS, WIDTH, artefact, pictured, word_artefact
from PIL import Image

from kindred.events.contract import EVENT_SCHEMA
from kindred.indexer.behaviour.interactions import load_interactions
from kindred.indexer.columns import Columns
from kindred.indexer.content import Content
from kindred.indexer.encoders import image_heads, image_title
from kindred.indexer.encoders.agreement import agreement, nearest
from kindred.indexer.encoders.altered import altered, altered_vectors
from kindred.indexer.encoders.dense import Dense, Scale, Split, dense_layers, folded, ridge
from kindred.indexer.representations import Given
from kindred.indexer.runtime import load_torch
from kindred.indexer.stages import Made
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import (
    EncoderSettings,
    ImageEncoderSettings,
    ImageHeadsSettings,
    KindredSettings,
)

SETTINGS = msgspec.convert(
    {
        "representations": {
            "threads": 1,
            "image_title": {
                "layers": [96, 96],
                "loop": {"epochs": 60, "batch_size": 64, "learning_rate": 5e-3, "patience": 15},
            },
            "image_heads": {
                "embedding_size": 16, "augmentations": 0,
                "loop": {"epochs": 25, "batch_size": 64, "learning_rate": 1e-2},
            },
        }
    },
    KindredSettings,
)  # fmt: skip
SILENT = SilentProgress()


def given(content: Content) -> Given:
    """No events: pictures are learned from the catalogue alone."""
    nothing = pl.DataFrame(schema=EVENT_SCHEMA).lazy()
    rows = pl.DataFrame({"item_id": ["i0"], "row": [0]}, {"item_id": pl.String, "row": pl.UInt32})
    return Given(content, load_interactions(nothing, rows, SETTINGS.signals), 1, SETTINGS)


def title_stage(content: Content) -> Made:
    return image_title.make(given(content), {"words": word_artefact()}, SILENT)


def heads_stage(content: Content) -> Made:
    return image_heads.make(given(content), {}, SILENT)


def test_folded_layers_compute_what_torch_does() -> None:
    torch = load_torch()
    rng = np.random.default_rng(1)
    x = rng.normal(3, 2, (400, 12)).astype(np.float32)
    scale = Scale.of(x)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = dense_layers((12, 20, 8, 5))
        net.train()
        for _ in range(30):  # running means that are not those of the start
            net(torch.from_numpy(scale(x)))
        net.eval()
        with torch.inference_mode():
            wanted = net(torch.from_numpy(scale(x))).numpy()
    dense = Dense(folded(net, scale))
    assert (dense.depth, dense.dim) == (3, 5)
    np.testing.assert_allclose(dense(x), wanted, atol=2e-5)


def test_ridge_solves_the_normal_equations() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 5)) + 4, rng.normal(size=(60, 2))
    weights, intercept = ridge(x, y, 3.0)
    # The gradient of |xW + b - y|² + 3 |W|² is zero at the minimum.
    off = x @ weights + intercept - y
    np.testing.assert_allclose(x.T @ off + 3.0 * weights, 0, atol=1e-9)
    np.testing.assert_allclose(off.sum(axis=0), 0, atol=1e-9)


def test_neighbours_are_those_of_a_full_sort() -> None:
    rng = np.random.default_rng(4)
    asking, pool = rng.normal(size=(30, 6)), rng.normal(size=(40, 6))
    same = np.concatenate([np.arange(20), np.full(10, -1)])
    found = nearest(asking, pool, same, 4)
    for q in range(30):
        order = [p for p in np.argsort(-(pool @ asking[q])) if p != same[q]]
        assert found[q].tolist() == order[:4]
    labels, theirs = rng.integers(-1, 3, 30), rng.integers(-1, 3, 40)
    shares = agreement(labels, theirs, found)
    for q in range(30):
        by_hand = np.mean([theirs[p] == labels[q] for p in found[q]])
        assert np.isnan(shares[q]) if labels[q] < 0 else shares[q] == by_hand
    assert nearest(asking[:2], pool[:1], np.array([0, -1])).tolist() == [[-1] * 5] * 2


def test_what_is_equal_stays_on_one_side() -> None:
    groups = np.random.default_rng(2).integers(0, 100, 1000)
    split = Split.of(groups, 7)
    parts = [split.training, split.development, split.tested]
    assert sorted(np.concatenate(parts).tolist()) == list(range(1000))
    sides = [set(groups[p].tolist()) for p in parts]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert 120 < len(split.tested) < 280


def test_words_find_pictures_and_pictures_find_words() -> None:
    items, content = pictured(1500, joint=True)
    made = title_stage(content)
    assert made.passed, made.reason
    assert made.metrics["cosine"] > made.metrics["cosine of ridge"]
    module = image_title.load(artefact(dict(made.arrays), dict(made.texts), "image_title"), {})
    vectors = content.tables["image"].vectors
    seen, shown = module.embed(
        [item(title="") for _ in items], {"image": (vectors, shown_all(items))}
    )
    words = [item(title=f"{c} {k}") for k in KINDS for c in COLOURS]
    said, told = module.embed(words, {})
    assert shown.all()
    assert told.all()
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    kinds = np.array([KINDS.index(i.category[-1]) for i in items])
    asked = np.repeat(np.arange(len(KINDS)), len(COLOURS))
    nobody = np.full(len(words), -1)
    assert agreement(asked, kinds, nearest(said, seen, nobody)).mean() > 0.8  # chance: 0.125
    back = nearest(seen, said, np.full(len(items), -1), 1)
    assert agreement(kinds, asked, back).mean() > 0.6


def shown_all(items: list) -> np.ndarray:
    return np.ones(len(items), np.bool_)


def test_items_get_the_vectors_that_training_gave_their_rows() -> None:
    items, content = pictured()
    vectors = {"image": (content.tables["image"].vectors, shown_all(items))}
    for stage, make in (("image_title", title_stage), ("image_heads", heads_stage)):
        made = make(content)
        module = {"image_title": image_title, "image_heads": image_heads}[stage].load(
            artefact(dict(made.arrays), dict(made.texts), stage), {}
        )
        unit, present = module.embed(items, vectors)
        np.testing.assert_array_equal(present, made.arrays["present"])
        np.testing.assert_allclose(unit, made.arrays["unit"], atol=1e-5)
        assert unit.shape == (len(items), module.dim)
        again = make(content)
        np.testing.assert_array_equal(again.arrays["unit"], made.arrays["unit"])
        assert module.space in ("shared", "visual")
        assert stage in module.version


def test_an_item_with_neither_picture_nor_known_words_has_no_vector() -> None:
    _, content = pictured()
    made = title_stage(content)
    module = image_title.load(artefact(dict(made.arrays), dict(made.texts), "image_title"), {})
    unit, present = module.embed([item(title="zyx"), item(title="red")], {})
    assert present.tolist() == [False, True]
    assert not unit[0].any()
    heads = heads_stage(content)
    visual = image_heads.load(artefact(dict(heads.arrays), {}, "image_heads"), {})
    assert not visual.embed([item()], {})[1].any()
    shown = np.array([True, False])
    both = visual.embed([item(), item()], {"image": (np.eye(2, WIDTH, dtype=np.float32), shown)})
    assert both[1].tolist() == [True, False]


def test_visual_neighbours_share_kind_and_colour() -> None:
    _, content = pictured()
    made = heads_stage(content)
    assert made.passed, made.reason
    for head in ("taxonomy", "colour"):
        assert made.metrics[head]["gain"][1] > 0.1
    assert set(made.metrics["heads"]) == {"taxonomy", "colour"}


def test_an_item_without_a_label_teaches_the_other_heads() -> None:
    items, content = pictured()
    rng = np.random.default_rng(8)
    untold = rng.random(len(items)) < 0.5
    known = [
        msgspec.structs.replace(i, colour=None) if u else i
        for i, u in zip(items, untold, strict=True)
    ]
    columns = Columns()
    columns.apply(np.arange(len(items)), known)
    materials = ["oak" if i.colour == "red" else "steel" for i in items]
    made = heads_stage(replace(content, columns=columns, materials=materials))
    assert made.passed, made.reason
    assert set(made.metrics["heads"]) == {"taxonomy", "colour", "material"}
    assert made.metrics["material"]["gain"][1] > 0


def test_a_label_that_no_tested_item_has_refuses_nothing() -> None:
    items, content = pictured()
    taught = Split.of(np.array(content.images), SETTINGS.seed).training
    told = {kind: [k for k in taught if items[k].colour == kind][:4] for kind in ("red", "blue")}
    kept = {k for rows in told.values() for k in rows}
    columns = Columns()
    columns.apply(
        np.arange(len(items)),
        [i if k in kept else msgspec.structs.replace(i, colour=None) for k, i in enumerate(items)],
    )
    made = heads_stage(replace(content, columns=columns))
    assert set(made.metrics["heads"]) == {"taxonomy", "colour"}
    assert made.passed, made.reason
    assert "colour" not in made.metrics


@pytest.mark.parametrize("make", [title_stage, heads_stage])
def test_labels_without_sense_do_not_pass(make) -> None:
    items, content = pictured(joint=make is title_stage)
    mixed = np.random.default_rng(6).permutation(len(items))
    columns = Columns()
    columns.apply(
        np.arange(len(items)),
        [
            msgspec.structs.replace(items[k], category=items[m].category, colour=items[m].colour)
            for k, m in enumerate(mixed)
        ],
    )
    shuffled = replace(content, columns=columns, titles=[content.titles[m] for m in mixed])
    made = make(shuffled)
    assert not made.passed, made.reason


def test_without_pictures_nothing_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    _, content = pictured()
    monkeypatch.setitem(sys.modules, "torch", None)  # an import would fail
    for made in (
        title_stage(replace(content, tables={})),
        heads_stage(replace(content, tables={})),
    ):
        assert not made.passed
        assert made.reason == "no item has a picture"
    few, _ = pictured(50)
    assert few
    lacking = image_title.make(given(content), {}, SILENT)
    assert not lacking.passed
    assert "word vectors" in lacking.reason


def test_an_altered_picture_is_turned_moved_and_zoomed_about_its_middle() -> None:
    image = Image.new("RGB", (100, 100), "white")
    image.paste((200, 0, 0), (40, 40, 60, 60))
    same = altered(image, np.zeros(5))
    assert np.abs(np.asarray(same, int) - np.asarray(image, int)).max() <= 2
    moved = np.asarray(altered(image, np.array([0, 1, -1, 0, 0.0])))
    ys, xs = np.nonzero(moved[..., 1] < 128)
    assert (round(xs.mean()), round(ys.mean())) == (60, 40)
    larger = np.asarray(altered(image, np.array([0, 0, 0, 1.0, 0])))
    assert 1.1 < (larger[..., 1] < 128).sum() / 400 < 1.35
    flatter = np.asarray(altered(image, np.array([0, 0, 0, 0, -1.0])))
    assert np.ptp(flatter[..., 1]) < 255
    turned = np.asarray(altered(image, np.array([1.0, 0, 0, 0, 0])))
    assert abs(int((turned[..., 1] < 128).sum()) - 400) < 40
    assert turned[40, 40, 1] > 128  # a corner of the square left its place


def test_copies_are_made_of_pictures_that_can_be_read(tmp_path) -> None:
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (40, 60), colour).save(tmp_path / f"{name}.png")
    settings = EncoderSettings(
        precision="float32", threads=1, image=ImageEncoderSettings(roots=(str(tmp_path),))
    )
    vectors, present = altered_vectors(["a.png", "gone.png", "b.png"], settings, 7)
    assert present.tolist() == [True, False, True]
    np.testing.assert_allclose(np.linalg.norm(vectors[present], axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[2] < 0.999


def test_copies_teach_only_where_their_picture_may() -> None:
    _, content = pictured()
    data = image_heads.labelled_pictures(content, 1000, 1)
    split = Split.of(data.rows, 1)
    owner = np.concatenate([split.training[:20], split.tested[:30]])
    copies = image_heads.Altered(owner, data.pictures[owner])
    settings = ImageHeadsSettings(embedding_size=8, loop=SETTINGS.representations.image_heads.loop)
    _, facts = image_heads.train_heads(data, split, copies, settings, 1, threads=1)
    assert facts["altered copies"] == 20
