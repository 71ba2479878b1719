"""Versions of trained models: whole or absent, gated, rolled back, never damaged in silence."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
import pytest

from kindred.indexer.models import ModelStore
from kindred.schemas.errors import ArtefactError, NotBuilt
from kindred.schemas.model import Card, Gate

ARRAYS = {"items": np.arange(4096, dtype=np.float32).reshape(64, 64), "none": np.zeros((0, 3))}
TEXTS = {"model": "tree\nvalue=1\r\nø\n"}


def card(key: str = "k", passed: bool = True) -> Card:
    gate = Gate(passed=passed, reason="HR@10 .10 ≥ .09" if passed else "HR@10 .01 < .09")
    return Card(stage="als", key=key, code=1, gate=gate, created=5, metrics={"hit_rate": 0.1})


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def publish(store: ModelStore, key: str = "k", passed: bool = True) -> str:
    return store.publish("als", card(key, passed), ARRAYS, TEXTS)


def test_a_version_comes_back_as_it_was_published(store: ModelStore):
    version = publish(store)
    found = store.load("als", verify=True)
    assert found.version == version == store.current("als")
    assert found.texts == TEXTS
    assert found.card.metrics == {"hit_rate": 0.1}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
        with pytest.raises(ValueError):
            found.arrays[name][...] = 0
    assert store.stages() == ["als"]


def test_before_the_first_version_the_error_names_the_command(store: ModelStore):
    assert store.current("als") is None
    assert store.versions("als") == store.stages() == []
    with pytest.raises(NotBuilt, match="kindred train als"):
        store.load("als")


def test_a_version_that_failed_its_gate_is_kept_and_not_used(store: ModelStore):
    good, bad = publish(store, "a"), publish(store, "b", passed=False)
    assert store.current("als") == good
    assert store.versions("als") == [good, bad]
    assert not store.load("als", bad).card.gate.passed
    with pytest.raises(ArtefactError, match="HR@10"):
        store.promote("als", bad)


def test_rollback_returns_to_what_was_in_use_before(store: ModelStore):
    first, second, third = (publish(store, k) for k in "abc")
    store.promote("als", first)
    assert store.rollback("als") == third
    assert store.current("als") == third
    assert store.withdrawn("als") == [first]
    assert store.rollback("als") == second
    with pytest.raises(ArtefactError, match="no earlier version"):
        store.rollback("als")
    assert store.current("als") == second


def test_promotion_by_hand_takes_back_a_rollback(store: ModelStore):
    _, second = publish(store, "a"), publish(store, "b")
    store.rollback("als")
    store.promote("als", second)
    assert store.current("als") == second
    assert store.withdrawn("als") == []


def test_the_newest_version_of_a_key_is_found(store: ModelStore):
    publish(store, "a")
    again = publish(store, "a")
    publish(store, "b")
    found = store.find("als", "a")
    assert found is not None
    assert found.version == again
    assert store.find("als", "z") is None


def test_a_damaged_version_is_not_found_by_its_key(store: ModelStore):
    first, second = publish(store, "a"), publish(store, "a")
    (store.root / "als" / second / "items.npy").unlink()
    found = store.find("als", "a")
    assert found is not None
    assert found.version == first


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "items.npy").write_bytes(b"short"), "bytes, its card says"),
        (lambda f: (f / "items.npy").unlink(), "missing"),
        (lambda f: (f / "card.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "card.json").write_text('{"stage": 3}'), "cannot be read"),
    ],
)
def test_damage_is_named(store: ModelStore, damage, message: str):
    folder = store.root / "als" / publish(store)
    damage(folder)
    with pytest.raises(ArtefactError, match=message):
        store.load("als")


def test_a_flipped_byte_is_found_when_asked_for(store: ModelStore):
    path = store.root / "als" / publish(store) / "items.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    store.load("als")
    with pytest.raises(ArtefactError, match="SHA-256"):
        store.load("als", verify=True)


def test_a_missing_current_version_is_an_error(store: ModelStore):
    publish(store)
    (store.root / "als" / "current").write_text("000099\n")
    with pytest.raises(ArtefactError, match="000099"):
        store.load("als")


def test_pickles_are_neither_written_nor_left_behind(store: ModelStore):
    with pytest.raises(ValueError, match="pickle"):
        store.publish("als", card(), {"items": np.array([{}], object)})
    assert store.versions("als") == []
    assert [p.name for p in (store.root / "als").iterdir()] == [".lock"]


def test_what_a_killed_publisher_left_is_swept(store: ModelStore):
    aside = store.root / "als" / ".aside-000001"
    aside.mkdir(parents=True)
    (aside / "items.npy").write_bytes(b"half")
    assert store.versions("als") == []
    assert publish(store) == "000001"
    assert not aside.exists()


@pytest.mark.parametrize("name", ["", "Als", "../als", "a/b", "1"])
def test_names_cannot_leave_the_folder(store: ModelStore, name: str):
    with pytest.raises(ArtefactError, match="name"):
        store.publish(name, card())
    with pytest.raises(ArtefactError, match="name"):
        store.publish("als", card(), {name: np.zeros(1)})


def test_an_unwritable_folder_is_an_artefact_error(tmp_path: Path):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ArtefactError, match="cannot be written"):
        publish(ModelStore(tmp_path / "models"))


def test_pruning_keeps_the_newest_and_what_is_in_use(store: ModelStore):
    versions = [publish(store, str(i)) for i in range(6)]
    store.promote("als", versions[1])
    assert store.prune("als", keep=2) == [versions[0], *versions[2:4]]
    assert store.versions("als") == [versions[1], *versions[4:]]
    store.load("als", verify=True)


def test_pruning_keeps_what_another_stage_was_made_with(store: ModelStore):
    """A hybrid in use goes on reading the classifier that it was trained on, and that its words."""
    words = [_made(store, "words", {}) for _ in range(6)]
    readers = [_made(store, "text_classifier", {"words": v}) for v in words]
    hybrid = _made(store, "hybrid", {"text_classifier": readers[1], "events": readers[0]})
    assert store.prune("text_classifier", keep=1) == [readers[0], *readers[2:4]]
    assert store.prune("words", keep=1) == [words[0], *words[2:4]]
    for stage, kept in (("text_classifier", readers), ("words", words)):
        assert store.load(stage, kept[1]).version == kept[1]
    (store.root / "hybrid" / hybrid / "card.json").write_text("{")
    assert store.prune("text_classifier", keep=1) == [readers[1]], "nothing names it any more"


def _made(store: ModelStore, stage: str, inputs: dict[str, str]) -> str:
    """A version that serves, made with those of other stages."""
    named = msgspec.structs.replace(card(), stage=stage, inputs=inputs)
    return store.publish(stage, named, {"none": np.zeros(1)})


def _publish_some(root: Path) -> list[str]:
    return [publish(ModelStore(root)) for _ in range(5)]


def test_two_processes_never_collide(store: ModelStore):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        made = [v for f in [pool.submit(_publish_some, store.root) for _ in range(2)]
                for v in f.result()]  # fmt: skip
    assert sorted(made) == store.versions("als")
    assert len(set(made)) == 10
    assert store.current("als") == store.versions("als")[-1]
    for version in made:
        store.load("als", version, verify=True)


def test_a_card_takes_numbers_of_numpy(store: ModelStore):
    metrics = {"hit_rate": np.float64(0.25), "items": {"seen": np.int64(3)}, "passed": np.True_}
    told = msgspec.structs.replace(card(), metrics=metrics)
    version = store.publish("als", told, ARRAYS, TEXTS)
    assert store.card("als", version).metrics == {
        "hit_rate": 0.25, "items": {"seen": 3}, "passed": True,
    }  # fmt: skip
    with pytest.raises(TypeError, match="ndarray on a card"):
        store.publish("als", msgspec.structs.replace(told, metrics={"all": np.ones(2)}), {}, {})
