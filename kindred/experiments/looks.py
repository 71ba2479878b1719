"""Whether neighbours by picture look alike, and whether words find pictures (SPEC A5, B7).

Modules are trained anew for each seed on four fifths of the pictured items, and asked about the
others, which nothing learned from: neither the modules nor the word vectors. Neighbours are looked
for among those unseen items, and beside that in the whole catalogue. The frozen backbone is the
baseline of neighbours, chance and ridge regression those of words and pictures.

Labels of material, where the catalogue has none, are weak: the one word of `MATERIALS` in a title.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.content import Content
from kindred.indexer.encoders.agreement import agreement, nearest
from kindred.indexer.encoders.dense import Split
from kindred.indexer.encoders.image_heads import train_heads
from kindred.indexer.encoders.image_title import (
    by_chance,
    titled_pictures,
    train_projection,
)
from kindred.indexer.encoders.labelled_pictures import (
    Altered,
    LabelledPictures,
    alter,
    labelled_pictures,
)
from kindred.indexer.encoders.shared_space import SharedSpace
from kindred.indexer.encoders.words import Words, least_count, train_words
from kindred.rerank.metrics import paired_interval
from kindred.schemas.errors import InputError
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Doubles, Rows
from kindred.schemas.settings import KindredSettings

MATERIALS = (
    "leather", "cotton", "denim", "silk", "wool", "woollen", "canvas", "suede", "jute", "linen",
    "nylon", "polyester", "satin", "chiffon", "georgette", "velvet", "steel", "silver", "gold",
    "pearl", "crystal", "rubber", "mesh", "lace",
)  # fmt: skip
WEAK_MATERIAL = (
    "The catalogue names no materials: those asked for and learned are weak labels, the one word "
    "of a material in a title."
)
BACKBONE, HEADS, TAXONOMY, SHARED = "backbone", "image_heads", "taxonomy head alone", "shared"
LAYERS, RIDGE, CHANCE = "shared, by layers", "shared, by ridge", "chance"
BY_WORDS, BY_PICTURES = "words find pictures", "pictures find words"
FEWEST = 500
"""Pictured items that an evaluation needs."""
_WORD = re.compile(r"[a-z]+")


def evaluate_looks(
    content: Content, settings: KindredSettings, progress: Progress, *, seeds: Sequence[int]
) -> dict[str, Any]:
    """The report as plain data; InputError where too few items have a picture.

    `neighbours` has precision@5 by pool, space and label with 95 % intervals, clustered by item,
    and `gain` over the backbone; `words and pictures` has that of each direction.
    """
    chosen = settings.representations.image_heads
    data = labelled_pictures(content, content.columns.size, settings.seed)
    if data.reason or len(data.rows) < FEWEST:
        said = data.reason or f"{len(data.rows)} items with a picture are too few"
        raise InputError(f"{said}: `kindred import items --reader fashion` has some", "$.catalogue")
    notes = []
    if "material" not in data.labels:
        data = replace(data, labels={**data.labels, "material": weak_materials(content, data.rows)})
        notes.append(WEAK_MATERIAL)
    asked = {**data.labels, **_attributes(content, data.rows)}
    copies = alter(data, np.arange(len(data.rows)), chosen.augmentations, settings, progress)
    titles = np.array([content.titles[r] or f"\0{r}" for r in data.rows])
    kept: dict[str, list[Any]] = {"item": []}
    runs = []
    with progress.task("evaluate looks", len(seeds)) as advance:
        for seed in seeds:
            split = Split.of(titles, seed)
            found, facts = _one_seed(content, data, asked, split, copies, settings, seed, progress)
            kept["item"].append(split.tested)
            for name, values in found.items():
                kept.setdefault(name, []).append(values)
            runs.append({"seed": seed, "items asked about": len(split.tested), **facts})
            advance(1)
    joined: dict[str, Any] = {name: np.concatenate(parts) for name, parts in kept.items()}
    return {
        "suite": "looks",
        "pictures": len(data.rows),
        "seeds": list(seeds),
        "notes": notes,
        "neighbours": _table(joined, asked, settings.seed),
        "words and pictures": _crossing(joined, settings.seed),
        "runs": runs,
    }


def weak_materials(content: Content, rows: Rows) -> Rows:
    """int64[n]: place in `MATERIALS` of the one that a title names, -1 for none or more."""
    found = np.full(len(rows), -1, np.int64)
    for place, row in enumerate(rows.tolist()):
        named = set(_WORD.findall(content.titles[row].casefold())) & set(MATERIALS)
        if len(named) == 1:
            found[place] = MATERIALS.index(named.pop())
    return found


def _attributes(content: Content, rows: Rows) -> dict[str, Rows]:
    """Codes of what the items are for, where the catalogue says it."""
    told = [msgspec.json.decode(content.attributes[r] or "{}") for r in rows]
    words = np.array([str(t.get("usage", "")) for t in told])
    names, codes = np.unique(words, return_inverse=True)
    if len(names) < 2:
        return {}
    return {"usage": np.where(words == "", -1, codes).astype(np.int64)}


def _one_seed(
    content: Content,
    data: LabelledPictures,
    asked: Mapping[str, Rows],
    split: Split,
    copies: Altered,
    settings: KindredSettings,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, Doubles], dict[str, Any]]:
    """(name -> float64[items asked about], how the trainings went)."""
    chosen = settings.representations
    how: dict[str, Any] = {"threads": chosen.threads, "device": chosen.device, "progress": progress}
    heads, facts = train_heads(data, split, copies, chosen.image_heads, seed, **how)
    alone, _ = train_heads(data, split, copies, chosen.image_heads, seed, heads=["taxonomy"], **how)
    modules, title_facts = _shared(content, data, split, settings, seed, how)
    spaces = {
        BACKBONE: data.pictures,
        HEADS: heads.of_pictures(data.pictures)[0],
        TAXONOMY: alone.of_pictures(data.pictures)[0],
        SHARED: modules[SHARED].of_pictures(data.pictures)[0],
    }
    found: dict[str, Doubles] = {}
    for pool, places in (("unseen", split.tested), ("all", np.arange(len(data.rows)))):
        own = np.searchsorted(places, split.tested)
        for space, vectors in spaces.items():
            near = nearest(vectors[split.tested], vectors[places], own)
            for label, codes in asked.items():
                shares = agreement(codes[split.tested], codes[places], near)
                found[f"{pool}\t{space}\t{label}"] = shares
    found |= _across(content, data, asked["taxonomy"], split.tested, modules)
    return found, {"image_heads": facts, "image_title": title_facts}


def _shared(
    content: Content,
    data: LabelledPictures,
    split: Split,
    settings: KindredSettings,
    seed: int,
    how: Mapping[str, Any],
) -> tuple[dict[str, SharedSpace], dict[str, Any]]:
    """(the shared space that would serve, and that of the layers and of the regression; facts)."""
    chosen = settings.representations
    unseen = set(data.rows[split.tested].tolist())
    texts = dict.fromkeys(t for row, t in enumerate(content.titles) if t and row not in unseen)
    sentences = [Words.tokens(text) for text in texts]
    least = least_count(sum(map(len, sentences)), chosen.words.min_count)
    words, _ = train_words(sentences, chosen.words, least, seed, how["progress"])
    titled = titled_pictures(
        content, words, msgspec.structs.replace(chosen.image_title, items=content.columns.size),
        seed,
    )  # fmt: skip
    parts = [np.flatnonzero(np.isin(titled.rows, data.rows[part])) for part in
             (split.training, split.development, split.tested)]  # fmt: skip
    began = time.perf_counter()
    made = train_projection(titled, Split(*parts), chosen.image_title, seed, **how)
    first = chosen.image_title.words
    facts = {**made.facts, "seconds with ridge": round(time.perf_counter() - began, 1)}
    found = {SHARED: made.serves, LAYERS: made.layers, RIDGE: made.ridge}
    return {name: SharedSpace(words, one, made.centre, first) for name, one in found.items()}, facts


def _across(
    content: Content,
    data: LabelledPictures,
    category: Rows,
    tested: Rows,
    modules: Mapping[str, SharedSpace],
) -> dict[str, Doubles]:
    """Listings of words alone look for pictures alone, and the reverse; an item not for itself."""
    titles = [content.titles[r] for r in data.rows[tested]]
    said, told = modules[SHARED].of_titles(titles)
    wanted = np.where(told, category[tested], -1)
    own = np.arange(len(tested))
    found: dict[str, Doubles] = {}
    for name, space in modules.items():
        seen = space.of_pictures(data.pictures[tested])[0]
        ways = {BY_WORDS: (said, seen), BY_PICTURES: (seen, said)}
        for way, (asking, pool) in ways.items():
            near = nearest(asking, pool, own)
            found[f"{way}\t{name}"] = agreement(wanted, category[tested], near)
    alike = by_chance(wanted)
    found[f"{BY_WORDS}\t{CHANCE}"] = found[f"{BY_PICTURES}\t{CHANCE}"] = alike
    return found


def _table(values: Mapping[str, Any], asked: Mapping[str, Rows], seed: int) -> dict[str, Any]:
    """pool -> space -> label -> precision@5 with its interval, and the gain over the backbone."""
    table: dict[str, Any] = {}
    for pool in ("unseen", "all"):
        spaces = table[pool] = {}
        for space in (BACKBONE, HEADS, TAXONOMY, SHARED):
            told = spaces[space] = {}
            for label in asked:
                ours = values[f"{pool}\t{space}\t{label}"]
                base = values[f"{pool}\t{BACKBONE}\t{label}"]
                told[label] = {"precision@5": _interval(ours, values["item"], seed)}
                if space != BACKBONE:
                    told[label]["gain"] = _interval(ours - base, values["item"], seed)
        versus = spaces["image_heads over the taxonomy head alone"] = {}
        for label in asked:
            both, one = (values[f"{pool}\t{space}\t{label}"] for space in (HEADS, TAXONOMY))
            versus[label] = {"gain": _interval(both - one, values["item"], seed)}
    return table


def _crossing(values: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """way -> precision@5 of each space and by chance, and the gain of what serves over chance."""
    found: dict[str, Any] = {}
    for way in (BY_WORDS, BY_PICTURES):
        told = {
            name: _interval(values[f"{way}\t{name}"], values["item"], seed)
            for name in (SHARED, LAYERS, RIDGE, CHANCE)
        }
        gain = values[f"{way}\t{SHARED}"] - values[f"{way}\t{CHANCE}"]
        found[way] = {**told, "gain over chance": _interval(gain, values["item"], seed)}
    return found


def _interval(values: Doubles, items: Rows, seed: int) -> list[float]:
    """[mean, low, high] over the values that are known."""
    known = ~np.isnan(values)
    if not known.any():
        return []
    return [round(v, 4) for v in paired_interval(values[known], items[known], seed)]
