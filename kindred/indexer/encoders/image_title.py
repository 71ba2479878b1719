"""Where a picture's title would be: one space for words and pictures (SPEC F8).

Seven dense layers lead from the frozen image backbone to the mean word vector of the first five
words of the title (squared error; examples drawn evenly from the subcategories). FINN found that
category labels make a worse target than words, and training a net on the pictures alone fails.

A title and a picture then lie in one space, so a listing with words alone finds one with a picture
alone, and the other way round. Word vectors share a large common part, which says nothing: the
mean target is taken off both sides. An item's vector is the mean direction of what it has.

Beside the layers stands a ridge regression to the same target. What is nearer to the one right
title need not be the better finder among many: on small clothes catalogues the layers win the first
and the regression the second. So the one that finds better on the development part serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.content import Content
from kindred.indexer.encoders.agreement import agreement, mean_interval, nearest
from kindred.indexer.encoders.dense import (
    Dense,
    Scale,
    Split,
    cosines,
    dense_layers,
    folded,
    ridge,
    unit_rows,
)
from kindred.indexer.encoders.shared_space import IMAGE, SharedSpace
from kindred.indexer.encoders.words import Words
from kindred.indexer.models import Artefact
from kindred.indexer.representations import Given
from kindred.indexer.stages import Made
from kindred.indexer.training import fit, seeded
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows
from kindred.schemas.settings import ImageTitleSettings

CODE = 2
FEWEST = 200
"""With fewer titled pictures than this nothing is learned."""
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
"""Of the ridge regression that the layers must beat; the development part chooses."""


def load(artefact: Artefact, _: Mapping[str, Artefact]) -> SharedSpace:
    """The module that serves."""
    return SharedSpace.of(artefact)


@dataclass(frozen=True)
class TitledPictures:
    """n items with a picture and words in their title."""

    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64[n]: of the catalogue"""
    pictures: Floats = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    """float32[n, d]: backbone vectors"""
    targets: Floats = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    """float32[n, w]: mean directions of the titles' first words"""
    titles: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.str_))
    classes: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64[n]: subcategory, or the top category where there is none; -1 unknown"""
    reason: str = ""
    """Why there is nothing to learn, where that is so."""


def titled_pictures(
    content: Content, words: Words, settings: ImageTitleSettings, seed: int
) -> TitledPictures:
    """Of the catalogue's rows those to learn from, at most `settings.items`, drawn."""
    if (table := content.tables.get(IMAGE)) is None or not table.present.any():
        return TitledPictures(reason="no item has a picture")
    rows = np.flatnonzero(table.present[: len(content.titles)])
    if len(rows) > settings.items:
        rows = np.sort(np.random.default_rng(seed).choice(rows, settings.items, replace=False))
    targets, present = words.mean_of_first([content.titles[r] for r in rows], settings.words)
    rows = rows[present]
    if len(rows) < FEWEST:
        return TitledPictures(reason=f"{len(rows)} pictures with a title are too few to learn from")
    levels = content.columns.category[rows][:, :2]
    return TitledPictures(
        rows=rows,
        pictures=table.vectors[rows],
        targets=targets[present],
        titles=np.array([content.titles[r] for r in rows]),
        classes=np.where(levels[:, 1] >= 0, levels[:, 1], levels[:, 0]).astype(np.int64),
    )


@dataclass(frozen=True)
class Projection:
    """Trained layers, the ridge regression beside them, the one that serves, and how it went."""

    layers: Dense
    ridge: Dense
    centre: Floats
    serves: Dense
    """Of the two the better finder"""
    facts: Mapping[str, Any]


def train_projection(
    data: TitledPictures,
    split: Split,
    settings: ImageTitleSettings,
    seed: int,
    *,
    threads: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Projection:
    """Learn from the training part; the development part chooses the epoch and the penalty."""
    learned, chosen = split.training, split.development
    centre = data.targets[learned].mean(axis=0)
    wanted = data.targets - centre
    scale = Scale.of(data.pictures[learned])
    scaled = scale(data.pictures)
    even = _evenly(data.classes[learned])
    draw = np.random.default_rng(seed)
    with seeded(seed, threads) as torch:
        sizes = (scaled.shape[1], *settings.layers, wanted.shape[1])
        net = dense_layers(sizes).to(device)
        x = torch.from_numpy(scaled).to(device)
        y = torch.from_numpy(wanted.astype(np.float32)).to(device)

        def loss_of(part: Rows) -> Any:
            drawn = learned[np.searchsorted(even, draw.random(len(part)))]
            at = torch.from_numpy(drawn).to(device)
            return ((net(x[at]) - y[at]) ** 2).sum(1).mean()

        def score() -> float:
            with torch.inference_mode():
                found = net(x[torch.from_numpy(chosen).to(device)]).cpu().numpy()
            return float(cosines(found, wanted[chosen]).mean())

        trained = fit(
            net, len(learned), loss_of, settings.loop, seed=seed, name="image_title",
            progress=progress, score=score if len(chosen) else None,
        )  # fmt: skip
        layers = Dense(folded(net, scale))
    straight, penalty = _best_ridge(scaled, wanted, learned, chosen, scale)
    finds = {
        name: round(float(np.nan_to_num(np.nanmean(finding(data, chosen, centre, made)))), 4)
        for name, made in (("layers", layers), ("ridge", straight))
    }
    best = max(finds, key=lambda name: finds[name])
    facts = {**trained.facts, "ridge penalty": penalty, "finds": finds, "serves": best}
    return Projection(
        layers, straight, centre.astype(np.float32), layers if best == "layers" else straight, facts
    )


def finding(data: TitledPictures, part: Rows, centre: Floats, made: Dense) -> Doubles:
    """float64[2 n]: how much of the five nearest is of an item's class, pictures by words and back.

    Over the items `part`, int64[n], an item not for itself; NaN where its class is unknown.
    """
    said = unit_rows((data.targets[part] - centre).astype(np.float32))[0]
    seen = unit_rows(made(data.pictures[part]))[0]
    own, classes = np.arange(len(part)), data.classes[part]
    ways = ((said, seen), (seen, said))
    return np.concatenate([agreement(classes, classes, nearest(a, b, own)) for a, b in ways])


def _evenly(classes: Rows) -> Doubles:
    """float64[n]: cumulated chances of n examples by which each class comes equally often."""
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    weight = 1.0 / counts[inverse]
    cumulated: Doubles = np.cumsum(weight) / weight.sum()
    cumulated[-1] = 1.0
    return cumulated


def _best_ridge(
    scaled: Floats, wanted: Floats, learned: Rows, chosen: Rows, scale: Scale
) -> tuple[Dense, float]:
    """The regression on unscaled inputs, with the penalty that suits the development part."""
    best: tuple[float, float, Dense] | None = None
    for penalty in PENALTIES:
        weights, intercept = ridge(scaled[learned], wanted[learned], penalty)
        narrow = (weights / scale.spread[:, None]).T
        arrays = {
            "layer_0_weight": narrow.astype(np.float32),
            "layer_0_bias": (intercept - narrow @ scale.mean).astype(np.float32),
        }
        value = float(cosines(scaled[chosen] @ weights + intercept, wanted[chosen]).mean())
        if best is None or value > best[0]:
            best = value, penalty, Dense(arrays)
    assert best is not None
    return best[2], best[1]


def make(given: Given, artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
    """Train on titled pictures; the gate is a ridge regression on items that neither has seen."""
    chosen = given.settings.representations
    settings, seed = chosen.image_title, given.settings.seed
    if "words" not in artefacts or not len(artefacts["words"].arrays.get("vectors", ())):
        return Made.refused("there are no word vectors to lead pictures to")
    words = Words.of(artefacts["words"])
    data = titled_pictures(given.content, words, settings, seed)
    if data.reason:
        return Made.refused(data.reason)
    split = Split.of(data.titles, seed)
    made = train_projection(
        data, split, settings, seed,
        threads=given.threads or chosen.threads, device=chosen.device, progress=progress,
    )  # fmt: skip
    metrics, passed, reason = judged(made, data, split)
    module = SharedSpace(words, made.serves, made.centre, settings.words)
    unit, present = _of_rows(module, given.content)
    return Made(
        arrays={
            **made.serves.arrays, "centre": made.centre, "first": np.array(settings.words),
            "vectors": words.vectors, "unit": unit, "present": present,
        },
        texts={"words": "\n".join(words.names)},
        metrics={**metrics, **made.facts, "items": int(present.sum())},
        passed=passed,
        reason=reason,
        summary=reason,
    )  # fmt: skip


def judged(
    made: Projection, data: TitledPictures, split: Split
) -> tuple[dict[str, Any], bool, str]:
    """(metrics, whether it may serve, why): on items that neither has seen.

    Layers must clearly be nearer to the right titles than the regression is; where the regression
    serves, it must clearly find more of a class than chance does.
    """
    pictures, targets = data.pictures[split.tested], data.targets[split.tested]
    wanted = targets - made.centre
    by_layers, by_ridge = made.layers(pictures), made.ridge(pictures)
    ours, theirs = cosines(by_layers, wanted), cosines(by_ridge, wanted)
    gain, low, high = mean_interval(ours - theirs)
    whole = cosines(by_layers + made.centre, targets), cosines(by_ridge + made.centre, targets)
    metrics = {
        "pictures": len(data.rows), "tested": len(split.tested),
        "cosine": round(float(ours.mean()), 4), "cosine of ridge": round(float(theirs.mean()), 4),
        "gain": [round(value, 4) for value in (gain, low, high)],
        "cosine with the common part": round(float(whole[0].mean()), 4),
        "cosine of ridge with the common part": round(float(whole[1].mean()), 4),
    }  # fmt: skip
    said = (
        f"cosine to the title of {len(split.tested):,} unseen pictures: {ours.mean():.3f}, "
        f"{theirs.mean():.3f} by ridge regression ({gain:+.4f}, 95 % {low:+.4f} to {high:+.4f})"
    )
    if made.serves is made.layers:
        return metrics, bool(low > 0), said
    found = finding(data, split.tested, made.centre, made.serves)
    chance = by_chance(data.classes[split.tested])
    lead = mean_interval((found - np.tile(chance, 2))[~np.isnan(found)])
    told = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*lead)
    reason = f"{said}; the regression finds more of a class and serves: {told} against chance"
    return {**metrics, "found over chance": [round(v, 4) for v in lead]}, lead[1] > 0, reason


def by_chance(classes: Rows) -> Doubles:
    """float64[n]: share of the other items that are of an item's class; NaN where it is unknown."""
    sizes = np.bincount(classes[classes >= 0], minlength=1)
    others = max(len(classes) - 1, 1)
    return np.where(classes >= 0, (sizes[np.maximum(classes, 0)] - 1) / others, np.nan)


def _of_rows(module: SharedSpace, content: Content) -> tuple[Floats, Mask]:
    """(float32[N, d], bool[N]): vectors of the active rows."""
    size = content.columns.size
    pictures, shown = content.tables[IMAGE].gather(np.arange(size))
    titles = [*content.titles, *[""] * (size - len(content.titles))]
    unit, present = module.joined(titles, pictures, shown)
    present = present & content.columns.active
    return np.where(present[:, None], unit, 0).astype(np.float32), present
