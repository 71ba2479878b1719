"""A visual embedding that knows category, colour and material (SPEC E10).

Etsy trains a 256-d convolutional block on the backbone with a classification head for each label,
together. Here the backbone is frozen: a 1 × 1 convolution and the mean over the picture commute, so
the block is a linear layer on the backbone's averaged features. The heads read the unit vector,
since its cosines are what neighbours are found by. An item without a label teaches that head
nothing, and each head's loss has a learned weight (Kendall et al. 2018: homoscedastic uncertainty).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kindred.indexer.encoders.agreement import agreement, mean_interval, nearest
from kindred.indexer.encoders.dense import Dense, Scale, Split, dense_layers, folded, unit_rows
from kindred.indexer.encoders.labelled_pictures import (
    HEADS,
    IMAGE,
    JUDGED,
    Altered,
    LabelledPictures,
    alter,
    frequent,
    labelled_pictures,
)
from kindred.indexer.encoders.learned import Vectors
from kindred.indexer.models import Artefact
from kindred.indexer.representations import SPACES, Given
from kindred.indexer.stages import Made
from kindred.indexer.training import fit, seeded
from kindred.schemas.item import Item
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import ImageHeadsSettings

CODE = 1
SHARPNESS = 16.0
"""Scores are cosines times it at first; it is learned."""


@dataclass(frozen=True)
class VisualVectors:
    """The trained layer, as a `Learned` module."""

    layers: Dense
    version: str = ""
    space: str = SPACES["image_heads"]
    reads: tuple[str, ...] = (IMAGE,)

    @classmethod
    def of(cls, artefact: Artefact) -> VisualVectors:
        """As kept by `make`."""
        return cls(Dense(artefact.arrays), f"image_heads/{artefact.card.key}")

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.layers.dim

    def facts(self, _: Item) -> bytes:
        """Nothing beside the picture."""
        return b""

    def embed(self, items: Sequence[Item], vectors: Vectors) -> tuple[Floats, Mask]:
        """See Learned.embed."""
        unit = np.zeros((len(items), self.dim), np.float32)
        present = np.zeros(len(items), np.bool_)
        if IMAGE in vectors:
            pictures, shown = vectors[IMAGE]
            at = np.flatnonzero(shown)
            unit[at], present[at] = self.of_pictures(pictures[at])
        return unit, present

    def of_pictures(self, pictures: Floats) -> tuple[Floats, Mask]:
        """(float32[n, d] unit, bool[n]) of backbone vectors."""
        return unit_rows(self.layers(pictures))


def load(artefact: Artefact, _: Mapping[str, Artefact]) -> VisualVectors:
    """The module that serves."""
    return VisualVectors.of(artefact)


def train_heads(
    data: LabelledPictures,
    split: Split,
    copies: Altered,
    settings: ImageHeadsSettings,
    seed: int,
    *,
    heads: Sequence[str] = HEADS,
    threads: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[VisualVectors, dict[str, Any]]:
    """(the trained module, how it went). Learns from the training part and copies of it.

    The development part chooses the epoch: by the mean accuracy of the heads.
    """
    learned, chosen = split.training, split.development
    labels = {
        h: frequent(data.labels[h], learned) for h in heads if h in data.labels
    }  # labels that the training part hardly knows are unknown
    own = np.isin(copies.owner, learned)
    owner = np.concatenate([np.arange(len(data.rows)), copies.owner[own]])
    examples = np.concatenate([learned, len(data.rows) + np.arange(int(own.sum()))])
    scale = Scale.of(data.pictures[learned])
    scaled = scale(np.concatenate([data.pictures, copies.vectors[own]]))
    with seeded(seed, threads) as torch:
        nn = torch.nn
        layers = dense_layers((scaled.shape[1], settings.embedding_size))
        net = nn.ModuleDict({
            "embed": layers,
            **{h: nn.Linear(settings.embedding_size, int(c.max()) + 1) for h, c in labels.items()},
        })  # fmt: skip
        net.register_parameter("doubt", nn.Parameter(torch.zeros(len(labels))))
        net.register_parameter("sharpness", nn.Parameter(torch.tensor(SHARPNESS)))
        net = net.to(device)
        x = torch.from_numpy(scaled).to(device)
        y = {h: torch.from_numpy(codes[owner]).to(device) for h, codes in labels.items()}

        def embedded(at: Any) -> Any:
            dropped = nn.functional.dropout(x[at], settings.dropout, net.training)
            return net.sharpness * nn.functional.normalize(net["embed"](dropped), dim=1)

        def loss_of(part: Rows) -> Any:
            at = torch.from_numpy(examples[part]).to(device)
            z = embedded(at)
            terms = []
            for k, head in enumerate(labels):
                wanted = y[head][at]
                summed = nn.functional.cross_entropy(
                    net[head](z), wanted, ignore_index=-1, reduction="sum"
                )
                mean = summed / (wanted >= 0).sum().clamp(min=1)
                terms.append(torch.exp(-net.doubt[k]) * mean + net.doubt[k] / 2)
            return torch.stack(terms).sum()

        def score() -> float:
            with torch.inference_mode():
                at = torch.from_numpy(chosen).to(device)
                z = embedded(at)
                right = [
                    (net[h](z).argmax(1) == y[h][at])[y[h][at] >= 0].float().mean()
                    for h in labels
                    if (y[h][at] >= 0).any()
                ]
            return float(torch.stack(right).mean()) if right else 0.0

        trained = fit(
            net, len(examples), loss_of, settings.loop, seed=seed, name="image_heads",
            progress=progress, score=score if len(chosen) else None,
        )  # fmt: skip
        made = VisualVectors(Dense(folded(layers, scale)))
        doubt = net.doubt.detach().cpu().tolist()
    facts = {
        "heads": {h: int(c.max()) + 1 for h, c in labels.items()},
        "weight of each head": {
            h: round(float(np.exp(-d)), 3) for h, d in zip(labels, doubt, strict=True)
        },
        "altered copies": int(own.sum()),
        **trained.facts,
    }
    return made, facts


def make(given: Given, _: Mapping[str, Artefact], progress: Progress) -> Made:
    """Train on labelled pictures; the gate is the raw backbone's neighbours on unseen items."""
    chosen = given.settings.representations
    settings, seed = chosen.image_heads, given.settings.seed
    data = labelled_pictures(given.content, settings.items, seed)
    if data.reason:
        return Made.refused(data.reason)
    # What is one picture stays on one side, or neighbours would be found by being the same.
    same = [r or f"\0{row}" for r, row in zip(data.references, data.rows.tolist(), strict=True)]
    split = Split.of(np.array(same), seed)
    copies = alter(data, split.training, settings.augmentations, given.settings, progress)
    module, facts = train_heads(
        data, split, copies, settings, seed,
        threads=given.threads or chosen.threads, device=chosen.device, progress=progress,
    )  # fmt: skip
    metrics, passed, reason = judged(module, data, split.tested)
    size = given.content.columns.size
    pictures, shown = given.content.tables[IMAGE].gather(np.arange(size))
    unit = np.zeros((size, module.dim), np.float32)
    at = np.flatnonzero(shown)
    unit[at], shown[at] = module.of_pictures(pictures[at])
    return Made(
        arrays={**module.layers.arrays, "unit": unit, "present": shown},
        metrics={**metrics, **facts, "items": int(shown.sum())},
        passed=passed,
        reason=reason,
        summary=reason,
    )


def judged(
    module: VisualVectors, data: LabelledPictures, tested: Rows
) -> tuple[dict[str, Any], bool, str]:
    """(metrics, whether it may serve, why): neighbours among unseen items share their labels.

    Clearly more often than the backbone's own neighbours in one of taxonomy and colour, and not
    clearly less often in the other; a label that no tested item has is not asked for.
    """
    pictures = data.pictures[tested]
    seen, own = module.of_pictures(pictures)[0], np.arange(len(tested))
    by_module = nearest(seen, seen, own)
    by_backbone = nearest(pictures, pictures, own)
    metrics: dict[str, Any] = {"pictures": len(data.rows), "tested": len(tested)}
    said, gains = [], []
    for head, codes in data.labels.items():
        wanted = codes[tested]
        if not (wanted >= 0).any():
            continue  # nothing to ask about
        ours, theirs = (agreement(wanted, wanted, found) for found in (by_module, by_backbone))
        gain = mean_interval(ours - theirs)
        means = float(np.nanmean(ours)), float(np.nanmean(theirs))
        metrics[head] = {
            "precision@5": round(means[0], 4), "backbone": round(means[1], 4),
            "gain": [round(value, 4) for value in gain],
        }  # fmt: skip
        if head in JUDGED:
            gains.append(gain)
            said.append(f"{head} {means[0]:.3f}, backbone {means[1]:.3f} ({gain[0]:+.3f})")
    passed = any(low > 0 for _, low, _ in gains) and all(high >= 0 for _, _, high in gains)
    return metrics, passed, f"precision@5 of {len(tested):,} unseen pictures: {'; '.join(said)}"
