"""Words, the text classifier and the tuned sentence encoder, as they train, serve and refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from builders import item
from traces import visits

from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.build import WORDS
from kindred.indexer.columns import Columns
from kindred.indexer.content import Content
from kindred.indexer.encoders import text_classifier, text_tuned, words
from kindred.indexer.encoders.labelled import HEADS, labelled_texts
from kindred.indexer.encoders.text import TextEncoder
from kindred.indexer.encoders.text_classifier import TextClassifier, arrays_of, network
from kindred.indexer.encoders.text_tuned import TunedEncoder
from kindred.indexer.encoders.words import Words, item_words
from kindred.indexer.models import Artefact
from kindred.indexer.representations import Given
from kindred.indexer.stages import Made
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.training import fit, seeded
from kindred.schemas.item import Item
from kindred.schemas.model import Card, Gate
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import (
    ClassifierSettings,
    EncoderSettings,
    KindredSettings,
    LoopSettings,
    RepresentationSettings,
    TextEncoderSettings,
    TunedTextSettings,
    WordSettings,
)

SHELVES = {
    ("home", "tables"): "oak dining table wooden round legs desk",
    ("home", "chairs"): "armchair seat cushion stool leather recliner",
    ("sport", "bikes"): "bicycle gear frame wheel pedal brake",
    ("sport", "skis"): "ski binding slope pole snow goggles",
    ("music", "pianos"): "piano keys grand upright pedal strings",
}
SETTINGS = KindredSettings(
    representations=RepresentationSettings(
        threads=1,
        words=WordSettings(epochs=30),
        text_classifier=ClassifierSettings(
            embedding_size=16,
            filters=12,
            loop=LoopSettings(epochs=4, batch_size=24, learning_rate=1e-2),
        ),
        text_tuned=TunedTextSettings(
            layers=1, pairs=96, loop=LoopSettings(epochs=3, batch_size=32, learning_rate=5e-4)
        ),
    ),
    encoders=EncoderSettings(
        precision="float32", threads=1, text=TextEncoderSettings(max_tokens=12)
    ),
)
NOTHING = visits([0])


def shop(count: int, seed: int = 1) -> list[Item]:
    """Listings whose words tell their shelf."""
    draw = np.random.default_rng(seed)
    shelves = list(SHELVES.items())
    found = []
    for n in range(count):
        path, told = shelves[n % len(shelves)]
        chosen = draw.choice(told.split(), 3, replace=False).tolist()
        text = f"used for {draw.integers(1, 9)} years, {' '.join(draw.choice(told.split(), 2))}"
        found.append(item(title=" ".join(chosen), category=path, description=text, brand="Dux"))
    return found


def given(items: Sequence[Item], log: Interactions = NOTHING, **tables: VectorTable) -> Given:
    columns = Columns()
    columns.apply(np.arange(len(items)), items)
    told = {name: [read(i) for i in items] for name, read in WORDS.items()}
    content = Content(columns=columns, tables=dict(tables), **told)
    return Given(content, log, int(log.ts[-1]) + 1, SETTINGS, threads=1)


def kept(made: Made, stage: str) -> Artefact:
    gate = Gate(passed=made.passed, reason=made.reason)
    card = Card(stage=stage, key="k", code=1, created=0, gate=gate)
    return Artefact(card=card, arrays=dict(made.arrays), texts=dict(made.texts))


@pytest.fixture(scope="module")
def market() -> Given:
    return given(shop(400))


@pytest.fixture(scope="module")
def learned(market: Given) -> Made:
    return words.make(market, {}, SilentProgress())


@pytest.fixture(scope="module")
def classified(market: Given, learned: Made) -> Made:
    return text_classifier.make(market, {"words": kept(learned, "words")}, SilentProgress())


def test_numbers_case_and_punctuation_do_not_make_a_word_another():
    assert Words.tokens("HP 564XL/920xl — Tri-Color (3 St.)") == [
        "hp", "0xl", "0xl", "tri", "color", "0", "st",
    ]  # fmt: skip
    assert Words.tokens("Kühlschrank_groß") == ["kühlschrank", "gross"]
    assert Words.tokens("...") == []


def test_words_of_one_shelf_are_near(learned: Made):
    found = Words.of(kept(learned, "words"))
    assert learned.passed, learned.reason
    near = {"ski": "binding slope pole snow goggles", "piano": "keys grand upright strings"}
    for word, shelf in near.items():
        assert set(found.nearest(word, 3)) <= set(shelf.split()) | {"pedal"}
    assert "ski" in found.names
    assert learned.metrics["unknown share of title words"] == 0


def test_the_same_seed_gives_the_same_words(market: Given, learned: Made):
    again = words.make(market, {}, SilentProgress())
    np.testing.assert_array_equal(again.arrays["vectors"], learned.arrays["vectors"])
    assert again.texts == learned.texts


def test_a_picture_is_to_show_the_mean_of_the_first_words(learned: Made):
    found = Words.of(kept(learned, "words"))
    titles = ["Piano, UPRIGHT unheard-of grand strings", "unheard", "", "ski ski pole"]
    unit, present = found.mean_of_first(titles, 2)
    assert present.tolist() == [True, False, False, True]
    at = found.code_of
    for row, pair in ((0, ("piano", "upright")), (3, ("ski", "ski"))):
        mean = (found.vectors[at[pair[0]]] + found.vectors[at[pair[1]]]) / 2
        np.testing.assert_allclose(unit[row], mean / np.linalg.norm(mean), atol=1e-6)
    assert not unit[1:3].any()


def test_a_shop_of_words_that_nobody_repeats_gets_no_vectors_of_use():
    draw = np.random.default_rng(3)
    letters = np.array(list("abcdefghij"))
    odd = ["".join(w) for w in letters[draw.integers(0, 10, (21_000, 9))]]
    titles = [" ".join(odd[k : k + 70]) for k in range(0, len(odd), 70)]
    items = [item(title=t, description="a word") for t in titles]
    made = words.make(given(items), {}, SilentProgress())
    assert not made.passed
    assert "have no vector, at most 8%" in made.reason
    assert not words.make(given([item(title="", description="")]), {}, SilentProgress()).passed


def test_the_classifier_does_not_read_what_it_must_guess():
    told = item(title="Oak table", category=("home", "furniture"), description="solid")
    read = TextClassifier(Words(("oak",), np.ones((1, 2), np.float32)), {}, "v").facts(told)
    assert read == b"Oak table solid"


def test_the_classifier_serves_in_numpy_what_torch_trained():
    draw = np.random.default_rng(2)
    vectors = draw.standard_normal((50, 8)).astype(np.float32)
    settings = ClassifierSettings(embedding_size=6, filters=7)
    lengths = np.array([0, 1, 2, 3, 4, 5, 9, 12] * 4)
    codes = draw.integers(0, 50, (len(lengths), 12))
    codes[np.arange(12)[None, :] >= lengths[:, None]] = -1
    with seeded(1) as torch, torch.inference_mode():
        net = network(vectors, {"category": 3}, settings).eval()
        wanted = net(torch.from_numpy(codes + 1)).numpy()
    arrays = arrays_of(net)
    module = TextClassifier(Words(tuple(map(str, range(50))), arrays["vectors"]), arrays, "v")
    np.testing.assert_allclose(module.top(codes), wanted, atol=1e-5)
    alone = np.vstack([module.top(codes[k : k + 1]) for k in range(len(codes))])
    np.testing.assert_allclose(alone, wanted, atol=1e-5)


def test_the_classifier_passes_on_words_that_tell_and_its_vectors_know_shelves(
    market: Given, classified: Made
):
    assert classified.passed, classified.reason
    assert classified.metrics["judged"] == "subcategory"
    assert classified.metrics["subcategory"]["network"]["accuracy"] > 0.9
    module = text_classifier.load(kept(classified, "text_classifier"), {})
    unit, present = module.embed([item(title="ski slope"), item(title="zzz", description="")], {})
    assert present.tolist() == [True, False]
    shelf = market.content.columns.category[:, 1]
    near = np.argsort(-classified.arrays["unit"] @ unit[0])[:10]
    skis = market.content.columns.vocabularies["category"].find("sport\x1fskis")
    assert set(shelf[near].tolist()) == {skis}


def test_a_new_listing_has_the_vector_that_training_gave_its_twin(classified: Made):
    module = text_classifier.load(kept(classified, "text_classifier"), {})
    items = shop(400)
    unit, present = module.embed(items[:7], {})
    np.testing.assert_allclose(unit, classified.arrays["unit"][:7], atol=1e-5)
    assert present.all()


def test_labels_without_sense_do_not_pass(learned: Made):
    items = shop(400)
    drawn = np.random.default_rng(5).permutation(len(items))
    shuffled = [
        item(title=i.title, description=i.description, category=items[k].category)
        for i, k in zip(items, drawn, strict=True)
    ]
    made = text_classifier.make(
        given(shuffled), {"words": kept(learned, "words")}, SilentProgress()
    )
    assert not made.passed
    assert "by chance" in made.reason


def test_a_text_is_never_on_both_sides_of_a_split(market: Given):
    twice = given([*shop(400), *shop(400)])
    found = Words(tuple(" ".join(SHELVES.values()).split()), np.ones((30, 2), np.float32))
    data = labelled_texts(
        words.words_of_rows(twice.content), twice.content.columns.category, found, 8, 10_000, 3
    )
    texts = words.words_of_rows(twice.content)
    parts = [
        {texts[r] for r in data.rows[p]} for p in (data.training, data.development, data.tested)
    ]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(data.rows)
    assert len(data.tested) == pytest.approx(len(data.rows) / 10, abs=2)
    assert set(data.classes) == set(HEADS)


def test_without_categories_there_is_nothing_to_learn(learned: Made):
    bare = given([replace_category(i) for i in shop(300)])
    made = text_classifier.make(bare, {"words": kept(learned, "words")}, SilentProgress())
    assert not made.passed
    assert "too few" in made.reason
    assert not text_classifier.make(bare, {}, SilentProgress()).passed


def replace_category(told: Item) -> Item:
    return item(title=told.title, description=told.description, category=())


def test_pairs_are_neighbours_in_a_visit_with_other_words():
    log = visits([0, 1, 2], [3, 3, 4], [1, 0])
    text_of = np.array([0, 1, -1, 3, 0])  # row 4 has the text of row 0
    found = {tuple(p) for p in text_tuned.text_pairs(log, text_of, 100, 1).tolist()}
    assert found == {(0, 1), (3, 0), (1, 0)}
    assert len(text_tuned.text_pairs(log, text_of, 2, 1)) == 2


def test_the_contrast_by_hand():
    import torch

    draw = np.random.default_rng(4)
    pairs = np.array([[0, 1], [2, 3], [4, 1], [5, 0]])
    vectors = draw.standard_normal((6, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def one_way(asked: list[int], answers: list[int]) -> float:
        losses = []
        for n, (text, own) in enumerate(zip(asked, answers, strict=True)):
            others = [a for m, a in enumerate(answers) if m == n or a not in (text, own)]
            scores = vectors[others] @ vectors[text] / 0.1
            losses.append(np.log(np.exp(scores).sum()) - vectors[own] @ vectors[text] / 0.1)
        return float(np.mean(losses))

    left, right = pairs.T.tolist()
    wanted = (one_way(left, right) + one_way(right, left)) / 2
    made = torch.from_numpy(vectors)
    assert float(text_tuned.contrast(made[left], made[right], pairs, 0.1)) == pytest.approx(wanted)


def test_only_a_difference_beyond_doubt_serves():
    before = np.array([20, 3, 20, 3] * 50)
    assert text_tuned.judged(np.where(before == 20, 5, 3), before)[1]
    assert not text_tuned.judged(before, before)[1]
    lucky = before.copy()
    lucky[0] = 1
    assert not text_tuned.judged(lucky, before)[1]


def test_tuning_is_off_unless_asked_for(market: Given):
    off = replace(market, settings=KindredSettings())
    made = text_tuned.make(off, {}, SilentProgress())
    assert not made.passed
    assert "turned off" in made.reason
    assert "no item has a text vector" in text_tuned.make(market, {}, SilentProgress()).reason


def test_visits_that_join_unlike_words_are_learned_and_served_without_the_maker():
    """Half the items' words say nothing of who goes with whom; after tuning the vectors do."""
    titles = [text for told in SHELVES.values() for text in told.split()][:30]
    items = [item(title=t, description="", category=()) for t in titles]
    draw = np.random.default_rng(6)
    kinds = draw.permutation(len(items)).reshape(-1, 3)  # trios of unlike words
    log = visits(*(draw.permutation(kinds[n % len(kinds)]).tolist() for n in range(3400)))
    encoder = TextEncoder(SETTINGS.encoders)
    table = VectorTable(encoder.dim)
    asked = given(items, log)
    table.set(np.arange(len(items)), encoder.encode_texts(asked.content.texts))
    asked.content.tables["text"] = table
    made = text_tuned.make(asked, {}, SilentProgress())
    assert made.passed, made.reason
    module = text_tuned.load(kept(made, "text_tuned"), {})
    unit, present = module.embed(items, {})
    assert present.all()
    np.testing.assert_allclose(unit, made.arrays["unit"], atol=1e-5)
    assert np.abs(unit - table.vectors).max() > 0.01
    assert module.version != encoder.version


def test_lower_and_upper_layers_are_the_whole_model():
    encoder = TunedEncoder(SETTINGS.encoders, {})
    texts = ["solid oak dining table with six chairs and a bench", "piano", "ski pole"]
    model = encoder._model
    lower = text_tuned.lower_of(model, texts, 2, 8)
    hidden, there = lower.batch(np.arange(3))
    made = text_tuned.upper_vectors(model, 2, hidden, there).detach().numpy()
    np.testing.assert_allclose(made, encoder.encode_texts(texts), atol=2e-3)
    assert item_words("a", "") == "a"


@pytest.mark.parametrize("examples", [1, 2, 9, 10, 11, 40])
def test_a_training_may_be_as_short_as_it_likes(examples: int) -> None:
    """A warm-up of a tenth of ten steps has no length to divide by."""
    with seeded(3) as torch:
        line = torch.nn.Linear(1, 1)
        settings = LoopSettings(epochs=1, batch_size=1, learning_rate=0.1)
        wanted = torch.ones(1)
        made = fit(
            line, examples, lambda part: (line(wanted) - 1).square().sum(), settings, seed=3,
            name="line",
        )  # fmt: skip
    assert made.steps == examples
