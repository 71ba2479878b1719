"""Attribute vectors: what the hashed facts of two items say about each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import item
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.indexer.encoders.attributes import AttributesEncoder
from kindred.schemas.item import Condition, Item
from kindred.schemas.settings import AttributesEncoderSettings

ROOT = Path(__file__).resolve().parents[2]
ENCODER = AttributesEncoder(AttributesEncoderSettings())
words = st.text(min_size=1, max_size=12)
facts = st.fixed_dictionaries(
    {
        "category": st.lists(words, max_size=6).map(tuple),
        "brand": st.none() | words,
        "colour": st.none() | words,
        "materials": st.lists(words, max_size=4).map(tuple),
        "condition": st.none() | st.sampled_from(Condition),
        "attributes": st.dictionaries(
            words, words | st.floats(allow_nan=True, allow_infinity=True), max_size=6
        ),
        "price_minor": st.none() | st.integers(0, 2**53 - 1),
    }
)


def vector(one: Item) -> np.ndarray:
    return ENCODER.encode([one]).vectors[0]


def cosine(a: Item, b: Item) -> float:
    return float(vector(a) @ vector(b))


@given(facts, st.randoms())
@settings(max_examples=60, deadline=None)
def test_a_vector_has_length_one_and_no_order_matters(given_facts, random):
    one = item(**given_facts)
    shuffled = list(one.attributes.items())
    random.shuffle(shuffled)
    materials = list(one.materials)
    random.shuffle(materials)
    other = item(**{**given_facts, "attributes": dict(shuffled), "materials": tuple(materials)})
    made = ENCODER.encode([one, other])
    assert ENCODER.key(one) == ENCODER.key(other)
    assert made.ok.tolist() == [ENCODER.key(one) is not None] * 2
    np.testing.assert_array_equal(made.vectors[0], made.vectors[1])
    assert np.linalg.norm(made.vectors[0]) == pytest.approx(float(made.ok[0]), abs=1e-6)


@given(st.lists(facts, min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_batch_changes_nothing(many):
    items = [item(**f) for f in many]
    together = ENCODER.encode(items).vectors
    alone = np.concatenate([ENCODER.encode([i]).vectors for i in items])
    np.testing.assert_array_equal(together, alone)


def test_every_process_makes_the_same_vector():
    code = (
        "from builders import item\n"
        "from kindred.indexer.encoders.attributes import AttributesEncoder\n"
        "from kindred.schemas.settings import AttributesEncoderSettings\n"
        "e = AttributesEncoder(AttributesEncoderSettings())\n"
        "i = item(item_id='a', brand='Bosch', attributes={'watts': 750.0, 'kind': 'drill'})\n"
        "print(e.key(i).hex(), e.encode([i]).vectors.tobytes().hex())\n"
    )
    command = [sys.executable, "-c", code]
    path = f"{ROOT}/tests:{ROOT}"
    answers = {
        subprocess.run(
            command,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1")
    }
    same = item(item_id="a", brand="Bosch", attributes={"watts": 750.0, "kind": "drill"})
    assert answers == {f"{ENCODER.key(same).hex()} {vector(same).tobytes().hex()}\n"}


def test_shared_facts_make_items_alike():
    seed = item(category=("home", "kitchen", "kettles"), brand="Smeg", colour="red")
    twin = item(category=("home", "kitchen", "kettles"), brand="Smeg", colour="red")
    near = item(category=("home", "kitchen", "kettles"), brand="Bosch", colour="red")
    far = item(category=("music", "piano", "grand"), brand="Steinway", colour="black")
    assert cosine(seed, twin) == pytest.approx(1, abs=1e-6)
    assert 1 > cosine(seed, near) > 0.5 > cosine(seed, far)


def test_a_lift_brand_does_not_look_like_a_piano():
    rng = np.random.default_rng(5)
    items = [
        item(category=(f"a{i}", f"b{i}", f"c{i}"), brand=f"brand {i}", price_minor=None)
        for i in rng.permutation(300)
    ]
    made = ENCODER.encode(items).vectors
    strangers = (made @ made.T)[np.triu_indices(len(items), 1)]
    assert abs(strangers.mean()) < 0.01
    assert np.quantile(np.abs(strangers), 0.99) < 0.4


def test_close_numbers_are_close_and_far_ones_are_not():
    def tv(inches: float) -> Item:
        return item(category=(), price_minor=None, attributes={"inches": inches})

    similar = [cosine(tv(55), tv(x)) for x in (55, 50, 40, 20)]
    assert similar == sorted(similar, reverse=True)
    assert similar[0] == pytest.approx(1, abs=1e-6)
    assert abs(similar[-1]) < 0.6


def test_prices_count_softly_and_never_alone():
    prices = [1000, 1100, 1500, 30_000]
    items = [item(price_minor=p) for p in prices]
    similar = [cosine(items[0], other) for other in items]
    assert similar == sorted(similar, reverse=True)
    assert similar[-1] > 0.5
    bare = item(category=(), price_minor=1000)
    assert ENCODER.key(bare) is None
    assert not ENCODER.encode([bare]).ok[0]


def test_a_small_price_change_keeps_the_key():
    assert ENCODER.key(item(price_minor=10_000)) == ENCODER.key(item(price_minor=10_150))
    assert ENCODER.key(item(price_minor=10_000)) != ENCODER.key(item(price_minor=20_000))


def test_numeric_scale_and_width_are_settings():
    loud = AttributesEncoder(AttributesEncoderSettings(dim=16, numeric_scale=4.0))
    assert loud.version != ENCODER.version
    one = item(attributes={"watts": 10.0})
    assert loud.encode([one]).vectors.shape == (1, 16)
    assert AttributesEncoder(AttributesEncoderSettings(dim=1)).encode([one]).vectors.shape == (1, 1)
