"""Trained modules as encoders: what they read, which versions, and what happens without them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import fake_modules
import numpy as np
import pytest
from builders import item
from counting import Counting
from fake_modules import publish

from kindred.indexer.encoders import factory
from kindred.indexer.encoders.base import Encoded
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.factory import LearnedSpaces, encoders_fingerprint, learned_encoders
from kindred.indexer.encoders.learned import encode_together
from kindred.indexer.encoders.run import RETRY_AFTER, Encodings, encode_missing
from kindred.indexer.models import ModelStore
from kindred.indexer.representations import RECIPES, SPACES, Recipe
from kindred.schemas.item import Item
from kindred.schemas.outcome import RowError


@pytest.fixture(autouse=True)
def recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = {
        "words": Recipe(fake_modules.NAME),
        "text_classifier": Recipe(fake_modules.NAME, ("words",)),
        "air": Recipe(fake_modules.NAME),
        "hybrid": Recipe(fake_modules.NAME, ("als", "text_classifier", "air")),
    }
    monkeypatch.setattr(factory, "RECIPES", fake)


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[EncodingCache]:
    cache = EncodingCache(tmp_path / "encodings.sqlite")
    yield cache
    cache.close()


def trained(models: ModelStore) -> dict[str, str]:
    """A hybrid over AIR and the classifier, and factors; versions by stage."""
    publish(models, "words", "")
    publish(models, "text_classifier", "text", words="000001")
    publish(models, "air", "text")
    publish(models, "als", "")
    publish(
        models, "hybrid", "text air text_classifier", als="000001", air="000001",
        text_classifier="000001",
    )  # fmt: skip
    return dict.fromkeys(("text_classifier", "air", "hybrid"), "000001")


def test_inputs_come_first_and_each_encoder_reads_the_space_of_its_stage(models, cache) -> None:
    versions, text = trained(models), Counting()
    artefacts = {stage: models.load(stage, v) for stage, v in versions.items()}
    made = learned_encoders(artefacts, {"text": text}, cache, models.load)
    assert list(made) == ["text_classifier", "air", "hybrid"]
    assert made["hybrid"].sources["air"] is made["air"]
    assert made["hybrid"].sources["text_classifier"] is made["text_classifier"]
    assert made["hybrid"].sources["text"] is text
    others = {"als 000001", "air 000001", "text_classifier 000001"}
    assert set(made["hybrid"].module.others) == others


def test_a_module_reads_the_versions_that_it_was_trained_on(models, cache) -> None:
    versions, text = trained(models), Counting()
    publish(models, "air", "text", shift=0.9)
    newer = LearnedSpaces({"text": text}, cache, models.load, ("air", "hybrid"))
    encoders = newer({**versions, "air": "000002"})
    assert encoders["air"].version.startswith("air/air-0.9")
    assert encoders["hybrid"].sources["air"].version.startswith("air/air-0.5")
    here = item(title="lamp")
    before = newer(versions)["hybrid"].encode([here]).vectors
    assert np.array_equal(encoders["hybrid"].encode([here]).vectors, before)


def test_what_the_index_does_not_hold_is_an_input_only(models, cache) -> None:
    spaces = LearnedSpaces({"text": Counting()}, cache, models.load, ("hybrid",))
    assert list(spaces(trained(models))) == ["hybrid"]
    assert spaces({"pairs": "000001"}) == {}


def test_one_that_was_trained_on_other_encoders_does_not_serve(models, cache) -> None:
    old, new = {"text": Counting("v1")}, {"text": Counting("v2")}
    publish(models, "air", "text", encoders=encoders_fingerprint(old))
    for base, serves in ((old, ["air"]), (new, [])):
        spaces = LearnedSpaces(base, cache, models.load, ("air",))
        assert list(spaces({"air": "000001"})) == serves


def test_one_whose_inputs_are_gone_does_not_serve_and_the_others_do(models, cache) -> None:
    versions = trained(models)
    publish(models, "hybrid", "text air", shift=0.2, air="000009")
    spaces = LearnedSpaces({"text": Counting()}, cache, models.load, ("air", "hybrid"))
    assert list(spaces({**versions, "hybrid": "000002"})) == ["air"]
    assert list(spaces({**versions, "hybrid": "000007"})) == ["air"]


def test_an_item_told_in_a_request_is_encoded_once_and_leaves_nothing(models, cache) -> None:
    text = Counting()
    spaces = LearnedSpaces({"text": text}, cache, models.load, ("air", "hybrid"))
    encoders = {"text": text, **spaces(trained(models))}
    here = item(title="lamp")
    told = encode_together(here, encoders)
    assert text.calls == 1
    keys = [text.key(here)]
    assert not cache.get("text", text.version, keys, text.dim).present.any()
    for space, encoder in encoders.items():
        assert np.array_equal(told[space], encode_missing([here], encoder, cache).vectors), space
    assert encode_together(item(title="", category=(), brand=None), encoders) == {}


def test_vectors_stand_in_the_cache_by_module_and_by_what_it_reads(models, cache) -> None:
    versions = trained(models)
    spaces = LearnedSpaces({"text": Counting()}, cache, models.load, ("hybrid",))
    items = [item(title="lamp"), item(title="oak"), item(title="oak")]
    first = encode_missing(items, spaces(versions)["hybrid"], cache)
    again = encode_missing(items[::-1], spaces(versions)["hybrid"], cache)
    assert (first.encoded, again.encoded) == (2, 0)
    assert np.array_equal(first.vectors, again.vectors[::-1])
    other = LearnedSpaces({"text": Counting("v2")}, cache, models.load, ("hybrid",))
    assert encode_missing(items, other(versions)["hybrid"], cache).encoded == 2


class Down(Counting):
    """The same encoder while the host of what it reads is down."""

    def encode(self, items: Sequence[Item]) -> Encoded:
        errors = [RowError(index=n, path="$.title", reason="down") for n in range(len(items))]
        return Encoded(np.zeros((len(items), 8), np.float32), np.zeros(len(items), bool), errors)


def test_what_was_made_without_a_refused_input_is_made_again_a_day_later(models, cache, tmp_path):
    """Also where the module reads another module that lacked it; what is whole stays."""
    versions = trained(models)
    items = [item(title="lamp", brand="b"), item(title="", brand="b")]

    def made(text: Counting) -> Encodings:
        spaces = LearnedSpaces({"text": text}, cache, models.load, ("hybrid",))
        return encode_missing(items, spaces(versions)["hybrid"], cache)

    first, back = made(Down()), Counting()
    assert (first.present.tolist(), first.partial.tolist()) == ([True, True], [True, False])
    assert first.rejects == []
    soon = made(back)
    assert (soon.encoded, back.calls) == (0, 0), "not tried again on the same day"
    assert soon.partial.tolist() == [True, False]
    with sqlite3.connect(tmp_path / "encodings.sqlite") as db:
        db.execute("UPDATE encodings SET at = at - ?", [RETRY_AFTER + 1])
    later = made(back)
    assert (later.encoded, back.seen) == (1, ["lamp"])
    assert later.partial.tolist() == [False, False]
    assert np.array_equal(later.vectors[1], first.vectors[1])
    told = LearnedSpaces({"text": back}, cache, models.load, ("hybrid",))(versions)["hybrid"]
    whole = encode_together(items[0], {"hybrid": told})["hybrid"][0]
    assert np.array_equal(later.vectors[0], whole)
    assert not np.allclose(later.vectors[0], first.vectors[0])
    with sqlite3.connect(tmp_path / "encodings.sqlite") as db:
        db.execute("UPDATE encodings SET at = at - ?", [RETRY_AFTER + 1])
    assert made(back).encoded == 0, "whole vectors stay for good"


def test_a_module_that_has_nothing_else_says_which_input_was_refused(models, cache):
    spaces = LearnedSpaces({"text": Counting()}, cache, models.load, ("hybrid",))
    made = encode_missing([item(title="bad", brand=None)], spaces(trained(models))["hybrid"], cache)
    assert [(r.index, r.reason) for r in made.rejects] == [(0, "text: bad is bad")]


@pytest.mark.parametrize("stage", RECIPES)
def test_what_gives_items_vectors_can_be_trained_and_served(stage: str) -> None:
    module = import_module(RECIPES[stage].module)
    assert callable(module.make)
    assert isinstance(module.CODE, int)
    assert callable(getattr(module, "load", None)) == (stage in SPACES)
