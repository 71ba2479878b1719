"""A catalogue whose pictures are vectors made by a rule that is known."""

from __future__ import annotations

import numpy as np
from builders import item

from kindred.indexer.columns import Columns
from kindred.indexer.content import Content
from kindred.indexer.models import Artefact
from kindred.indexer.store.tables import VectorTable
from kindred.schemas.item import Item
from kindred.schemas.model import Card, Gate

KINDS = ("shoe", "shirt", "lamp", "chair", "ring", "sofa", "watch", "belt")
COLOURS = ("red", "blue", "green", "black")
WIDTH = 48
WORD_SIZE = 16


def pictured(n: int = 900, seed: int = 3, *, joint: bool = False) -> tuple[list[Item], Content]:
    """n items of a kind and a colour, each with a picture vector that hides both in noise.

    Kind and colour are directions of length one; 24 other directions vary far more and mean
    nothing, so neighbours by the raw vector are poor and a linear map finds both. `joint` gives
    each pair of kind and colour a direction of its own, more than there are dimensions, which no
    linear map takes apart.
    """
    rng = np.random.default_rng(seed)
    kind, colour = rng.integers(0, len(KINDS), n), rng.integers(0, len(COLOURS), n)
    items = [
        item(
            item_id=f"i{k}", title=f"{COLOURS[c]} {KINDS[t]} model {k}",
            category=("goods", KINDS[t]), colour=COLOURS[c], images=(f"{k}.jpg",),
            attributes={"usage": "casual" if t % 2 else "formal"},
        )
        for k, (t, c) in enumerate(zip(kind, colour, strict=True))
    ]  # fmt: skip
    raw = np.zeros((n, WIDTH))
    raw[np.arange(n), kind] = 1
    raw[np.arange(n), len(KINDS) + colour] = 1
    if joint:
        directions = rng.normal(size=(len(KINDS), len(COLOURS), WIDTH - 24)) / 3
        raw[:, : WIDTH - 24] = directions[kind, colour]
    raw[:, -24:] = rng.normal(0, 0.2 if joint else 0.6, (n, 24))
    raw += rng.normal(0, 0.08, raw.shape)
    turned = raw @ np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    vectors = (turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)
    columns, table = Columns(), VectorTable(WIDTH)
    columns.apply(np.arange(n), items)
    table.set(np.arange(n), vectors)
    content = Content(
        columns=columns,
        tables={"image": table},
        titles=[i.title for i in items],
        texts=[i.title for i in items],
        images=[i.images[0] for i in items],
        materials=[""] * n,
        attributes=['{"usage":"casual"}' if t % 2 else '{"usage":"formal"}' for t in kind],
    )
    return items, content


def word_artefact(seed: int = 5) -> Artefact:
    """Word vectors at random, with a large part that all share, as word2vec's have."""
    rng = np.random.default_rng(seed)
    names = [*KINDS, *COLOURS, "model", "0"]
    vectors = rng.normal(0, 1, (len(names), WORD_SIZE)) + 2
    return artefact({"vectors": vectors.astype(np.float32)}, {"words": "\n".join(names)}, "words")


def artefact(arrays: dict, texts: dict, stage: str) -> Artefact:
    """As the store would load it."""
    card = Card(
        stage=stage, version="000001", key=f"key-of-{stage}", code=1, inputs={}, settings={},
        seed=1, metrics={}, gate=Gate(passed=True, reason="a test"), created=1, seconds=0.0,
    )  # fmt: skip
    return Artefact(card=card, arrays=arrays, texts=texts)
