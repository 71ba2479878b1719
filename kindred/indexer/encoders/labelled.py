"""Texts with categories: what a text classifier learns from, and what it must beat.

Equal texts count once and are never on both sides of a split, or a shop that lists one thing many
times would ask for what it told. A class of few texts is not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.indexer.encoders.words import Words
from kindred.indexer.representations import Given
from kindred.indexer.training import fit, seeded
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Mask, Rows
from kindred.schemas.settings import LoopSettings

HEADS = ("category", "subcategory")
"""First and second level of the category path."""
FEWEST = 5
"""Texts that make a class."""
FEWEST_TEXTS = 200
"""With fewer texts of known classes than this nothing is learned."""
TESTED = 0.1
"""Share of the texts that the gate asks about, and again for choosing the epoch."""
SURE = 3.0
"""Standard errors beyond chance at which labels count as having sense."""
LEAST_STEPS = 400
"""A small catalogue is gone through more often."""
BAG_RATE = 2
"""The bag learns at so many times the network's rate: it has one layer."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """n distinct texts, in three parts."""

    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64[n]: the first row of each text"""
    codes: Rows = field(default_factory=lambda: np.zeros((0, 1), np.int64))
    """int64[n, w]: words, -1 behind the end"""
    labels: Mapping[str, Rows] = field(default_factory=dict)
    """int64[n] by head: the class, -1 unknown"""
    classes: Mapping[str, int] = field(default_factory=dict)
    """Number of classes by head; a head of fewer than two is left out."""
    training: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64: positions"""
    development: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    tested: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    reason: str = ""
    """Why there is nothing to learn, where that is so."""

    @property
    def judged(self) -> str:
        """The head that is judged: the lowest level there is."""
        return [h for h in HEADS if h in self.classes][-1]

    def accuracy(self, head: str, guessed: Rows) -> float:
        """Share of the development part's known classes that are guessed."""
        wanted = self.labels[head][self.development]
        return float(np.mean((guessed == wanted)[wanted >= 0])) if (wanted >= 0).any() else 0.0


def labelled_texts(
    texts: Sequence[str],
    category: NDArray[np.int32],
    words: Words,
    max_tokens: int,
    most: int,
    seed: int,
) -> Labelled:
    """The distinct texts of N rows with their categories int32[N, levels], -1 below the leaf.

    At most `most` are drawn to learn from. Of a text that several categories have, the first
    row's is taken.
    """
    first: dict[str, int] = {}
    for row in np.flatnonzero(category[:, 0] >= 0).tolist():
        if texts[row]:
            first.setdefault(texts[row], row)
    if len(first) < FEWEST_TEXTS:
        return Labelled(reason=f"{len(first)} texts of known category are too few to learn from")
    draw = np.random.default_rng(seed)
    distinct = list(first)
    part = draw.permutation(len(distinct))[: round(most / (1 - 2 * TESTED))]
    rows = np.fromiter(first.values(), np.int64)[part]
    codes = words.codes([distinct[i] for i in part], max_tokens)
    known = codes[:, 0] >= 0
    rows, codes = rows[known], codes[known]
    labels = {head: _classes(category[rows, level]) for level, head in enumerate(HEADS)}
    classes = {h: int(found.max(initial=-1)) + 1 for h, found in labels.items()}
    classes = {h: n for h, n in classes.items() if n > 1}
    if not classes:
        return Labelled(reason="all texts are of one category: there is nothing to tell apart")
    data = Labelled(rows=rows, codes=codes, labels=labels, classes=classes)
    usable = np.flatnonzero(labels[data.judged] >= 0)
    asked = max(1, round(TESTED * len(usable)))
    held = usable[: 2 * asked]
    return replace(
        data,
        training=np.setdiff1d(np.arange(len(codes)), held),
        development=held[:asked],
        tested=held[asked:],
    )


def _classes(codes: NDArray[np.int32]) -> Rows:
    """int64[n]: numbers without gaps of the codes that occur often enough, -1 for others."""
    counts = np.bincount(codes[codes >= 0], minlength=1)
    number = np.full(len(counts) + 1, -1, np.int64)  # the last place: code -1
    often = np.flatnonzero(counts >= FEWEST)
    number[often] = np.arange(len(often))
    found: Rows = number[codes]
    return found


def enough(loop: LoopSettings, count: int) -> LoopSettings:
    """With more epochs, and patience to match, where `count` examples would give few steps."""
    steps = max(1, -(-count // loop.batch_size))
    times = max(1, -(-LEAST_STEPS // (steps * loop.epochs)))
    return msgspec.structs.replace(loop, epochs=loop.epochs * times, patience=loop.patience * times)


def bag_guesses(
    words: Words, data: Labelled, given: Given, progress: Progress
) -> tuple[Mapping[str, Rows], dict[str, Any]]:
    """(guesses at the tested texts by head, how the training went) of a bag of words.

    As fastText has it (Joulin et al. 2017): the mean of word vectors, which are trained from the
    same start, and one linear layer.
    """
    chosen = given.settings.representations
    loop = enough(chosen.text_classifier.loop, len(data.training))
    loop = msgspec.structs.replace(loop, learning_rate=loop.learning_rate * BAG_RATE)
    with seeded(given.settings.seed, chosen.threads) as torch:
        nn = torch.nn
        start = np.vstack([np.zeros((1, words.dim), np.float32), words.vectors])
        bag = nn.EmbeddingBag.from_pretrained(
            torch.from_numpy(start), freeze=False, mode="mean", padding_idx=0
        )
        net = nn.ModuleDict(
            {"bag": bag, **{h: nn.Linear(words.dim, n) for h, n in data.classes.items()}}
        ).to(chosen.device)
        codes = torch.from_numpy(data.codes + 1).to(chosen.device)
        labels = {h: torch.from_numpy(data.labels[h]).to(chosen.device) for h in data.classes}

        def loss_of(part: Rows) -> Any:
            rows = torch.from_numpy(data.training[part])
            mean = net["bag"](codes[rows])
            terms = [
                nn.functional.cross_entropy(
                    net[h](mean), labels[h][rows], ignore_index=-1, reduction="sum"
                )
                for h in data.classes
            ]
            return torch.stack(terms).sum() / len(rows)

        def guesses(rows: Rows) -> dict[str, Rows]:
            with torch.inference_mode():
                mean = net["bag"](codes[torch.from_numpy(rows)])
                return {h: net[h](mean).argmax(1).cpu().numpy() for h in data.classes}

        trained = fit(
            net, len(data.training), loss_of, loop, seed=given.settings.seed,
            name="bag of words", progress=progress,
            score=lambda: data.accuracy(data.judged, guesses(data.development)[data.judged]),
        )  # fmt: skip
        return guesses(data.tested), trained.facts


def compared(
    data: Labelled, network: Mapping[str, Rows], bag: Mapping[str, Rows]
) -> tuple[dict[str, Any], bool, str]:
    """(metrics, whether the network may serve, why): accuracies with standard errors.

    It must guess the judged level at least as often as the bag does, and more often than the same
    guesses would be right of shuffled labels, by SURE standard errors: of labels without sense
    nobody learns more than that, and neither does one who always says the commonest class.
    """
    metrics: dict[str, Any] = {
        "texts": len(data.codes), "tested": len(data.tested), "classes": dict(data.classes),
        "judged": data.judged,
    }  # fmt: skip
    for head in data.classes:
        wanted = data.labels[head][data.tested]
        known = wanted >= 0
        wanted = wanted[known]
        hits: dict[str, Mask] = {
            "network": network[head][known] == wanted,
            "bag of words": bag[head][known] == wanted,
        }
        share = [
            np.bincount(x, minlength=data.classes[head]) for x in (wanted, network[head][known])
        ]
        chance = float(share[0] @ share[1]) / max(len(wanted), 1) ** 2
        metrics[head] = {
            name: {"accuracy": round(float(h.mean()), 5), "error": round(_error(h), 5)}
            for name, h in hits.items()
        }
        gain = hits["network"].astype(np.float64) - hits["bag of words"]
        metrics[head]["by chance"] = round(chance, 5)
        metrics[head]["gain over the bag"] = {
            "mean": round(float(gain.mean()), 5), "error": round(_error(gain), 5),
        }  # fmt: skip
        if head == data.judged:
            doubt = SURE * float(np.sqrt(chance * (1 - chance) / len(gain)))
            passed = gain.mean() >= 0 and hits["network"].mean() > chance + doubt
            reason = (
                f"{head} of {len(gain):,} texts: {hits['network'].mean():.1%} right, "
                f"{hits['bag of words'].mean():.1%} by a bag of words "
                f"({gain.mean():+.2%} ± {_error(gain):.2%}), "
                f"{chance:.1%} by chance"
            )
    return metrics, bool(passed), reason


def _error(x: NDArray[Any] | Mask) -> float:
    """Standard error of the mean."""
    return float(np.std(x) / np.sqrt(max(len(x), 1)))
