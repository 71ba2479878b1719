"""The evaluation of pictures: it tells a module that sees from a backbone that hardly does."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from pictured import pictured

from kindred.experiments.looks import MATERIALS, evaluate_looks, weak_materials
from kindred.schemas.errors import InputError
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import KindredSettings

SETTINGS = msgspec.convert(
    {
        "representations": {
            "threads": 1,
            "words": {"embedding_size": 12, "epochs": 20},
            "image_title": {
                "layers": [64], "loop": {"epochs": 30, "batch_size": 64, "patience": 30},
            },
            "image_heads": {
                "embedding_size": 16, "augmentations": 0,
                "loop": {"epochs": 15, "batch_size": 64, "learning_rate": 1e-2},
            },
        }
    },
    KindredSettings,
)  # fmt: skip


def test_what_the_heads_learn_shows_on_items_that_nothing_learned_from() -> None:
    _, content = pictured()
    content = replace(
        content, titles=[f"{t} {MATERIALS[n % 3]}" for n, t in enumerate(content.titles)]
    )
    report = evaluate_looks(content, SETTINGS, SilentProgress(), seeds=(1, 2))
    assert (report["pictures"], report["seeds"]) == (900, [1, 2])
    assert any("weak" in note for note in report["notes"])
    unseen = report["neighbours"]["unseen"]
    for label in ("taxonomy", "colour", "usage"):
        mean, low, high = unseen["image_heads"][label]["gain"]
        assert 0.1 < low < mean < high
    # Material is drawn without regard to the picture: nobody can see it.
    seen = unseen["image_heads"]["material"]["precision@5"]
    assert seen[1] < 1 / 3 < seen[2]
    # One who learned kinds alone finds colours worse.
    assert unseen["image_heads over the taxonomy head alone"]["colour"]["gain"][1] > 0.1
    for way in ("words find pictures", "pictures find words"):
        crossing = report["words and pictures"][way]
        assert 0.1 < crossing["chance"][0] < 0.15
        assert crossing["shared"][1] > crossing["chance"][2]
        assert crossing["gain over chance"][1] > 0
        served = (crossing["shared, by layers"], crossing["shared, by ridge"])
        assert min(served)[0] <= crossing["shared"][0] <= max(served)[0]
    counts = [run["items asked about"] for run in report["runs"]]
    assert all(120 < n < 240 for n in counts)


def test_a_material_is_known_where_a_title_names_one() -> None:
    _, content = pictured(3)
    content = replace(content, titles=["Leather belt", "cotton and SILK scarf", "a leatherette"])
    found = weak_materials(content, np.arange(3))
    assert found.tolist() == [MATERIALS.index("leather"), -1, -1]


def test_without_pictures_it_says_what_is_missing() -> None:
    _, content = pictured(60)
    with pytest.raises(InputError, match="no item has a picture"):
        evaluate_looks(replace(content, tables={}), SETTINGS, SilentProgress(), seeds=(1,))
    with pytest.raises(InputError, match="too few"):
        evaluate_looks(content, SETTINGS, SilentProgress(), seeds=(1,))
