"""Towers: the same in torch and numpy, from rows and from items; of what is absent, nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import item
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.columns import Columns
from kindred.indexer.runtime import load_torch
from kindred.indexer.towers.crossed import procrustes
from kindred.indexer.towers.hybrid import Hybrid, known_items
from kindred.indexer.towers.inputs import (
    BAGS,
    BUCKETS,
    COUNT_SPAN,
    HATS,
    POPULARITY,
    Inputs,
    facts_of_items,
    facts_of_rows,
    hats,
    popularity_value,
)
from kindred.indexer.towers.losses import (
    MARGIN,
    Batch,
    Negatives,
    logistic_loss,
    softmax_loss,
    triplet_loss,
)
from kindred.indexer.towers.positives import ENOUGH, co_clicks, conversions, together
from kindred.indexer.towers.tower import Tensors, arrays_of, make_tower, principal
from kindred.indexer.towers.weights import TowerWeights
from kindred.schemas.clock import DAY
from kindred.schemas.event import ACTION_CODE
from kindred.schemas.settings import TowerSettings

NAMES = ("als", "category", "text")
SMALL = TowerSettings(input_size=16, hidden=(32,), embedding_size=12)


def some_inputs(n: int = 60, seed: int = 0) -> Inputs:
    rng = np.random.default_rng(seed)
    words = rng.integers(1, BUCKETS, (n, 3))
    words[rng.random((n, 3)) < 0.4] = 0
    words[:4] = 0
    present = {"text": rng.random(n) < 0.7, "als": rng.random(n) < 0.5}
    present["text"][:4] = present["als"][:2] = False
    vectors = {
        "text": rng.standard_normal((n, 20)).astype(np.float32) * present["text"][:, None],
        "als": rng.standard_normal((n, 10)).astype(np.float32) * present["als"][:, None],
    }
    return Inputs(vectors, {**present, "category": words.any(axis=1)}, {"category": words})


def shaken(inputs: Inputs, chosen: TowerSettings, names: tuple[str, ...] = NAMES):
    """A tower with weights unlike those it begins with."""
    torch = load_torch(1)
    torch.manual_seed(0)
    tower = make_tower(inputs, names, chosen)
    for weights in tower.parameters():
        weights.data += 0.2 * torch.randn_like(weights)
    tower.bags["category"].weight.data[0] = 0
    return tower.eval()


@pytest.mark.parametrize("gate", ["attention", "none"])
@pytest.mark.parametrize("hidden", [(32,), ()])
def test_numpy_serves_what_torch_trained(gate: str, hidden: tuple[int, ...]) -> None:
    inputs = some_inputs()
    chosen = TowerSettings(input_size=16, hidden=hidden, embedding_size=12, gate=gate)
    tower = shaken(inputs, chosen)
    with load_torch(1).no_grad():
        vectors, gates = tower(*Tensors(inputs, NAMES).take(np.arange(len(inputs))))
    served, has, weights = TowerWeights(NAMES, arrays_of(tower))(inputs)
    np.testing.assert_allclose(served[has], vectors.numpy()[has], atol=1e-5)
    np.testing.assert_allclose(weights, gates.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(served[has], axis=1), 1, atol=1e-5)
    nothing = ~np.any([inputs.present[name] for name in NAMES], axis=0)
    assert nothing.any()
    assert (has == ~nothing).all()
    assert not served[nothing].any()


def test_of_an_absent_input_exactly_nothing_gets_through() -> None:
    inputs = some_inputs()
    weights = TowerWeights(NAMES, arrays_of(shaken(inputs, SMALL)))
    vectors, has, gates = weights(inputs)
    absent = ~inputs.present["als"]
    assert (gates[absent, NAMES.index("als")] == 0).all()
    np.testing.assert_allclose(gates[has].sum(axis=1), 1, atol=1e-5)
    noise = np.where(absent[:, None], np.float32(7), inputs.vectors["als"])
    other = replace(inputs, vectors={**inputs.vectors, "als": noise})
    np.testing.assert_array_equal(weights(other)[0], vectors)
    # An input that a caller does not have at all is absent from every item.
    lacking = weights(inputs.only(("text", "category")))
    assert (lacking[2][:, NAMES.index("als")] == 0).all()


def test_it_begins_as_its_inputs_side_by_side() -> None:
    """Before training, a wide enough tower orders items as the inputs themselves do."""
    rng = np.random.default_rng(1)
    n, d = 80, 8
    raw = rng.standard_normal((n, d)).astype(np.float32)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    inputs = Inputs({"text": raw}, {"text": np.ones(n, np.bool_)})
    tower = make_tower(
        inputs, ("text",), TowerSettings(input_size=d, embedding_size=d, hidden=(8,))
    )
    vectors, _, gates = TowerWeights(("text",), arrays_of(tower))(inputs)
    assert (gates == 1).all()
    centred = raw - raw.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    upper = np.triu_indices(n, 1)
    found = np.corrcoef((vectors @ vectors.T)[upper], (centred @ centred.T)[upper])[0, 1]
    assert found > 0.9


def test_principal_directions_keep_inner_products() -> None:
    values = np.random.default_rng(2).standard_normal((50, 6)).astype(np.float32)
    mean, directions = principal(values, 6)
    kept = (values - mean) @ directions.T
    wanted = (values - mean) @ (values - mean).T
    np.testing.assert_allclose(kept @ kept.T, wanted, atol=1e-4)
    np.testing.assert_allclose(principal(values, 9)[1][6:], 0)


def test_rows_and_items_give_the_same_facts() -> None:
    items = [
        item(brand="Ek", colour="red", price_minor=900),
        item(category=(), brand=None, price_minor=None, currency=None),
        item(category=("Home", "furniture"), brand=" ek ", colour="RED"),
    ]
    columns = Columns()
    columns.apply(np.arange(3), items)
    rows, told = facts_of_rows(columns), facts_of_items(items)
    for name in (*BAGS, "price"):
        np.testing.assert_array_equal(rows.present[name], told.present[name])
    np.testing.assert_allclose(rows.vectors["price"], told.vectors["price"])
    for bag in BAGS:
        width = told.words[bag].shape[1]
        np.testing.assert_array_equal(rows.words[bag][:, :width], told.words[bag])
        assert not rows.words[bag][:, width:].any()
    assert told.words["brand"][0] == told.words["brand"][2], "case and blanks say nothing"


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=20))
def test_marks_share_a_number_between_neighbours(counts: list[int]) -> None:
    values, known = popularity_value(np.array(counts))
    assert values.shape == (len(counts), HATS)
    np.testing.assert_allclose(values[known].sum(axis=1), 1, atol=1e-5)
    assert not values[~known].any()
    np.testing.assert_array_equal(known, np.array(counts) > 0)
    marks = np.linspace(*COUNT_SPAN, HATS)
    read = values[known] @ marks
    np.testing.assert_allclose(
        read, np.minimum(np.log2(np.array(counts)[known] + 1.0), COUNT_SPAN[1]), atol=1e-3
    )


def test_the_ends_of_the_marks() -> None:
    np.testing.assert_array_equal(
        hats(np.array([-5.0, 99.0]), (0, 1)).argmax(axis=1), [0, HATS - 1]
    )


def log_of(events: list[tuple[int, int, int, int]], action: str = "purchase") -> Interactions:
    """(subject, session, row, ts) in order of time."""
    subject, session, row, ts = (np.array(column) for column in zip(*events, strict=True))
    return Interactions(
        subject=subject.astype(np.int32),
        session=session.astype(np.int32),
        row=row.astype(np.int64),
        action=np.full(len(ts), ACTION_CODE[action], np.int16),
        ts=ts.astype(np.int64),
        subjects=np.arange(int(subject.max()) + 1, dtype=np.uint64),
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=2, max_size=40),
    st.integers(1, 4),
)
def test_pairs_are_of_two_items_of_one_visit(events: list[tuple[int, int]], cap: int) -> None:
    log = log_of([(session, session, row, t) for t, (session, row) in enumerate(events)])
    pairs = co_clicks(log, cap, 10_000, 0)
    baskets: dict[int, set[int]] = {}
    for session, row in events:
        baskets.setdefault(session, set()).add(row)
    wanted = sum(min(cap, len(b) * (len(b) - 1) // 2) for b in baskets.values() if len(b) > 1)
    assert len(pairs) == wanted
    if not wanted:
        return
    groups, one, other = pairs.draw(np.arange(len(pairs)), np.random.default_rng(0))
    for group, a, b in zip(groups.tolist(), one.tolist(), other.tolist(), strict=True):
        assert a != b
        assert {a, b} <= baskets[int(pairs.subjects[group])]
    # Each example is a pair of its basket at random: either end is each item equally often.
    exact = np.zeros(10)
    for basket in baskets.values():
        if len(basket) > 1:
            share = min(cap, len(basket) * (len(basket) - 1) // 2) / len(basket)
            exact[list(basket)] += share
    np.testing.assert_allclose(pairs.frequency(10), exact / exact.sum(), atol=1e-9)


def test_conversions_take_the_nearest_thing_to_a_sale_of_one_day() -> None:
    bought = [(u, 2 * u, r, 10 * u + r) for u in range(ENOUGH) for r in (0, 1)]
    later = [(u, 2 * u + 1, 2, DAY + 10 * u) for u in range(ENOUGH)]
    pairs = conversions(log_of([*bought, *later]), 50, 10_000, 0)
    assert "one day" in pairs.said
    assert "purchase" in pairs.said
    assert set(pairs.rows.tolist()) == {0, 1}, "what was bought a day later is no pair"
    few = conversions(log_of([(0, 0, 0, 0), (0, 1, 1, 9 * DAY)], "view"), 50, 10_000, 0)
    assert len(few) == 1, "where days are few a longer span counts"


def test_groups_beyond_the_limit_are_drawn() -> None:
    log = log_of([(u, u, r, 10 * u + r) for u in range(50) for r in range(4)])
    pairs = together(log, log.session.astype(np.int64), 6, 100, 0, "visits")
    assert len(pairs) == 100


def a_batch() -> tuple[Batch, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    batch = Batch(
        groups=np.array([0, 1, 1, 2]), rows=np.array([0, 1, 2, 3]),
        partners=np.array([4, 5, 6, 4]), others=np.arange(7, 7 + 28),
    )  # fmt: skip
    here, there = rng.standard_normal((4, 6)), rng.standard_normal((32, 6))
    here /= np.linalg.norm(here, axis=1, keepdims=True)
    there /= np.linalg.norm(there, axis=1, keepdims=True)
    return batch, here.astype(np.float32), there.astype(np.float32)


def test_the_softmax_by_hand() -> None:
    torch = load_torch(1)
    batch, here, there = a_batch()
    chances = np.random.default_rng(4).random(len(there)) + 0.1
    found = softmax_loss(
        torch.from_numpy(here), torch.from_numpy(there), batch, np.log(chances), 0.1, 0.5
    )
    columns = batch.columns
    total = 0.0
    for i in range(4):
        allowed = [
            j
            for j in range(len(columns))
            if j == i
            or (
                columns[j] not in (batch.rows[i], batch.partners[i])
                and not (j < 4 and batch.groups[j] == batch.groups[i])
            )
        ]
        logits = {j: here[i] @ there[j] / 0.1 - 0.5 * np.log(chances[j]) for j in allowed}
        total += np.log(sum(np.exp(v) for v in logits.values())) - logits[i]
    assert float(found) == pytest.approx(total / 4, rel=1e-4)
    assert not batch.masked()[0, 0]
    assert batch.masked()[0, 3], "the same partner of another row is no negative"
    assert batch.masked()[1, 2], "nor is an item of the same group"


def test_triplets_and_logistic_by_hand() -> None:
    torch = load_torch(1)
    batch, here, there = a_batch()
    rows, columns = torch.from_numpy(here), torch.from_numpy(there)
    cosine = here @ there[:4].T
    shifted = [1, 2, 3, 0]
    terms = [
        max(0, MARGIN - cosine[i, i] + cosine[i, j])
        for i, j in enumerate(shifted)
        if not batch.masked()[i, j]
    ]
    assert float(triplet_loss(rows, columns, batch)) == pytest.approx(np.mean(terms), rel=1e-4)
    total = 0.0
    for i in range(4):
        hardest = max(cosine[i, j] for j in range(4) if j != i and not batch.masked()[i, j])
        against = [hardest, *(here[i] @ there[4 + 7 * i + k] for k in range(7))]
        total += np.log1p(np.exp(-cosine[i, i] / 0.1))
        total += sum(np.log1p(np.exp(v / 0.1)) for v in against)
    found = logistic_loss(rows, columns, batch, 0.1)
    assert float(found) == pytest.approx(total / 4, rel=1e-3)


def test_negatives_of_the_same_category() -> None:
    category = np.array([0, 0, 0, 1, 1, -1])
    draws = Negatives(np.arange(6), np.ones(6) / 6, category, np.random.default_rng(0))
    partners = np.array([0, 3] * 50)
    drawn = draws.logistic(partners).reshape(100, 7)
    same = drawn[:, 4:]
    assert (category[same] == category[partners][:, None]).all()
    assert len(draws.uniform(9)) == 9


def test_the_rotation_of_one_set_of_factors_onto_another() -> None:
    rng = np.random.default_rng(5)
    one = rng.standard_normal((40, 6))
    turn, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    np.testing.assert_allclose(procrustes(one, one @ turn), turn, atol=1e-8)


def test_items_are_known_by_id_and_others_by_content_alone() -> None:
    items = [item(item_id=f"i{n}", brand="Ek") for n in range(4)]
    inputs = Inputs(
        {"als": np.eye(4, 10, dtype=np.float32)},
        {"als": np.array([True, True, False, True]), "category": np.ones(4, np.bool_)},
        {"category": facts_of_items(items).words["category"]},
    )
    names = ("als", "category")
    weights = TowerWeights(names, arrays_of(shaken(inputs, SMALL, names)))
    hashes, rows = known_items([i.item_id for i in items])
    module = Hybrid(
        weights, "hybrid/x", hashes, rows, {"als": (inputs.vectors["als"], inputs.present["als"])}
    )
    np.testing.assert_allclose(module.embed(items, {})[0], weights(inputs)[0], atol=1e-6)
    stranger = item(item_id="new", brand="Ek")
    assert module.rows(["i2", "new", "i0"]).tolist() == [2, -1, 0]
    told, gates = module.gates([items[0], stranger], {})
    assert told == names
    assert gates[0, 0] > 0
    assert gates[1, 0] == 0
    assert module.facts(items[0]) != module.facts(items[1]), "behaviour is each item's own"
    assert module.facts(items[2]) == module.facts(stranger), "content alone is shared"


def test_popularity_is_not_what_an_item_is_like() -> None:
    from kindred.indexer.towers.inputs import BY_ID
    from kindred.indexer.towers.judging import PLAIN

    assert POPULARITY in BY_ID
    assert POPULARITY in PLAIN
