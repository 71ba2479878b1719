"""The sentence encoder, its upper layers tuned so that texts of items of one visit are near (F7).

Contrastive: each pair of consecutive items of a visit against the other pairs of the batch, by
softmax over cosines, in both directions. A text that also occurs elsewhere in the batch is no
negative of itself. The lower layers stay as they are, so their output for a text is computed once
and kept, and a step costs the upper layers alone.

Only the tuned weights are kept; the rest is the model that `encoders.text` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.holdout import vector_ranks
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.encoders.learned import Vectors
from kindred.indexer.encoders.text import TextEncoder, item_text
from kindred.indexer.models import Artefact
from kindred.indexer.representations import SPACES, Given
from kindred.indexer.stages import Made
from kindred.indexer.training import fit, seeded
from kindred.schemas.item import Item
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import EncoderSettings, TunedTextSettings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CODE = 1
FEW = 100
"""With fewer questions than this nothing is proven, so nothing serves."""
HITS = 10
_TUNED = "tuned_{}"
"""Name of the array of the k-th tuned weight; `names` lists what the model calls them."""


class TunedEncoder(TextEncoder):
    """The text encoder with other weights in its upper layers."""

    def __init__(self, settings: EncoderSettings, weights: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(settings)
        self._weights = weights

    @cached_property
    def _loaded(self) -> SentenceTransformer:
        import torch

        model = super()._loaded
        layers = stack_of(model).layer
        found = {name: torch.tensor(weight) for name, weight in self._weights.items()}
        unknown = layers.load_state_dict(found, strict=False).unexpected_keys
        if unknown:
            raise ValueError(f"the text model has no weights {', '.join(unknown)}")
        return model


@dataclass(frozen=True)
class TunedText:
    """The tuned encoder as a `Learned` module; the model loads at the first text."""

    encoder: TunedEncoder
    version: str
    space: str = SPACES["text_tuned"]
    reads: tuple[str, ...] = ()

    @classmethod
    def of(cls, artefact: Artefact) -> TunedText:
        """As kept by `make`."""
        settings = msgspec.json.decode(artefact.texts["encoder"], type=EncoderSettings)
        names = artefact.texts["names"].split("\n")
        weights = {name: artefact.arrays[_TUNED.format(k)] for k, name in enumerate(names)}
        encoder = TunedEncoder(settings, weights)
        return cls(encoder, f"text_tuned/{artefact.card.key}/{encoder.version}")

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.encoder.dim

    def facts(self, item: Item) -> bytes:
        """The text that it reads."""
        return item_text(item).encode()

    def embed(self, items: Sequence[Item], _: Vectors) -> tuple[Floats, Mask]:
        """See Learned.embed. An item without words has no vector."""
        made = self.encoder.encode(items)
        return made.vectors, made.ok


def load(artefact: Artefact, _: Mapping[str, Artefact]) -> TunedText:
    """The module that serves."""
    return TunedText.of(artefact)


@dataclass(frozen=True, slots=True)
class Lower:
    """What the lower layers say of T texts: ragged, float16."""

    hidden: NDArray[np.float16]
    """float16[all tokens, width]"""
    offsets: Rows
    """int64[T + 1]"""

    def batch(self, texts: Rows) -> tuple[Any, Any]:
        """(float32[n, longest, width], float32[n, longest] 1 where a token is) as tensors."""
        import torch

        lengths = np.diff(self.offsets)[texts]
        hidden = np.zeros((len(texts), int(lengths.max()), self.hidden.shape[1]), np.float32)
        there = np.arange(hidden.shape[1])[None, :] < lengths[:, None]
        at = np.arange(hidden.shape[1])[None, :] + self.offsets[texts][:, None]
        hidden[there] = self.hidden[at[there]]
        return torch.from_numpy(hidden), torch.from_numpy(there.astype(np.float32))


def stack_of(model: SentenceTransformer) -> Any:
    """The part that owns the list of layers, as `layer`; ValueError where it is built otherwise."""
    inner = getattr(model[0], "auto_model", None)
    stack = getattr(inner, "encoder", None)
    if not hasattr(stack, "layer"):
        raise ValueError("the text model has no stack of layers that can be tuned")
    return stack


def lower_of(model: SentenceTransformer, texts: Sequence[str], layers: int, batch: int) -> Lower:
    """Run all layers but the upper `layers` over distinct texts."""
    import torch

    stack = stack_of(model)
    whole = stack.layer
    stack.layer = torch.nn.ModuleList(list(whole)[:-layers])
    try:
        parts = model.encode(
            list(texts), output_value="token_embeddings", batch_size=batch, show_progress_bar=False,
            convert_to_tensor=False, convert_to_numpy=False,
        )  # fmt: skip
    finally:
        stack.layer = whole
    lengths = [len(part) for part in parts]
    hidden = np.concatenate([part.cpu().numpy().astype(np.float16) for part in parts])
    return Lower(hidden, np.append(0, np.cumsum(lengths)).astype(np.int64))


def upper_vectors(model: SentenceTransformer, layers: int, hidden: Any, there: Any) -> Any:
    """float32[n, d] unit vectors of a batch of `Lower`, with gradients to the upper layers."""
    import torch

    shut = (1 - there[:, None, None, :]) * torch.finfo(torch.float32).min
    for layer in list(stack_of(model).layer)[-layers:]:
        hidden = layer(hidden, shut)
    features = {"token_embeddings": hidden, "attention_mask": there}
    for module in list(model)[1:]:
        features = module(features)
    return torch.nn.functional.normalize(features["sentence_embedding"], dim=1)


def text_pairs(log: Interactions, text_of: Rows, most: int, seed: int) -> Rows:
    """int64[n, 2]: texts of consecutive items of a visit, both known and not the same.

    `text_of` int64[N] numbers the text of each row, -1 for none. At most `most` are drawn.
    """
    visits = log.sessions()
    text = text_of[log.row[visits.index]]
    owner = np.repeat(np.arange(len(visits)), np.diff(visits.offsets))
    pairs = np.stack([text[:-1], text[1:]], axis=1)
    usable = (owner[:-1] == owner[1:]) & (pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])
    found = np.flatnonzero(usable)
    chosen: Rows = pairs[np.random.default_rng(seed).permutation(found)[:most]]
    return chosen


def contrast(left: Any, right: Any, pairs: Rows, temperature: float) -> Any:
    """Mean loss of n pairs of unit vectors float32[n, d], whose texts are int64[n, 2].

    Another pair's text is no negative where it is the same as one of the pair's own two.
    """
    import torch

    first, second = torch.from_numpy(pairs).T
    loss = torch.nn.functional.cross_entropy
    own = torch.arange(len(pairs))

    def one_way(asked: Any, answers: Any, asked_text: Any, answer_text: Any) -> Any:
        same = asked_text[:, None] == answer_text[None, :]
        same |= answer_text[:, None] == answer_text[None, :]
        same[own, own] = False
        return loss((asked @ answers.T / temperature).masked_fill(same, -torch.inf), own)

    return (one_way(left, right, first, second) + one_way(right, left, second, first)) / 2


def tune(
    model: SentenceTransformer,
    lower: Lower,
    pairs: Rows,
    settings: TunedTextSettings,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train the upper layers in place on pairs of texts of `lower`; facts for a card."""
    import torch

    tuned = torch.nn.ModuleList(list(stack_of(model).layer)[-settings.layers :])
    device = next(tuned.parameters()).device

    def loss_of(part: Rows) -> Any:
        chosen = pairs[part]
        texts, at = np.unique(chosen, return_inverse=True)  # a text of two pairs is computed once
        hidden, there = lower.batch(texts)
        made = upper_vectors(model, settings.layers, hidden.to(device), there.to(device)).cpu()
        left, right = torch.from_numpy(at.reshape(-1, 2)).T
        return contrast(made[left], made[right], chosen, settings.temperature)

    tuned.requires_grad_(True)
    return fit(
        tuned, len(pairs), loss_of, settings.loop, seed=seed, name="text_tuned", progress=progress
    ).facts


def make(given: Given, _: Mapping[str, Artefact], progress: Progress) -> Made:
    """Tune on the pairs before the gate's questions; the gate is the encoder as it was."""
    settings = given.settings.representations.text_tuned
    table = given.content.tables.get("text")
    reason = ""
    if settings.pairs == 0:
        reason = "turned off: `representations.text_tuned.pairs` is 0"
    elif table is None:
        reason = "no item has a text vector to compare with"
    elif len(given.questions) < FEW:
        reason = f"{len(given.questions)} questions are too few to prove anything"
    if reason or table is None:
        return Made.refused(reason)
    texts = given.content.texts
    places: dict[str, int] = {}
    text_of = np.array([places.setdefault(t, len(places)) if t else -1 for t in texts], np.int64)
    pairs = text_pairs(given.training, text_of, settings.pairs, given.settings.seed)
    if len(pairs) < settings.loop.batch_size:
        return Made.refused(f"{len(pairs)} pairs of texts are too few to learn from")
    read, at = np.unique(pairs, return_inverse=True)
    distinct = list(places)
    base = given.settings.encoders
    model = TunedEncoder(base, {})._model
    with seeded(given.settings.seed, given.settings.representations.threads):
        lower = lower_of(model, [distinct[i] for i in read], settings.layers, base.text.batch_size)
        facts = tune(model, lower, at.reshape(-1, 2), settings, given.settings.seed, progress)
    weights = tuned_weights(model, settings.layers)
    found = TunedEncoder(base, weights).encode_texts(distinct)
    unit = np.where((text_of >= 0)[:, None], found[text_of], 0).astype(np.float32)
    before = np.zeros((given.size, table.dim), np.float32)
    before[: table.size] = table.vectors[: given.size]
    metrics, passed, reason = judged(
        vector_ranks(unit, given.questions), vector_ranks(before, given.questions)
    )
    arrays = {_TUNED.format(k): weight for k, weight in enumerate(weights.values())}
    return Made(
        arrays={**arrays, "unit": unit, "present": text_of >= 0},
        texts={"encoder": msgspec.json.encode(base).decode(), "names": "\n".join(weights)},
        metrics={**metrics, "pairs": len(pairs), "texts": len(read), "network": facts},
        passed=passed,
        reason=reason,
        summary=reason,
    )


def tuned_weights(model: SentenceTransformer, layers: int) -> dict[str, NDArray[Any]]:
    """Weights of the upper layers, as the stack of layers calls them."""
    stack = stack_of(model).layer
    upper = {str(k) for k in range(len(stack) - layers, len(stack))}
    return {
        name: value.detach().cpu().numpy()
        for name, value in stack.state_dict().items()
        if name.split(".")[0] in upper
    }


def judged(tuned: Rows, before: Rows) -> tuple[dict[str, Any], bool, str]:
    """(metrics, whether the tuned encoder may serve, why), from the ranks of the same answers.

    Its HR@10 must be higher, and the 95 % interval of the difference must leave out zero.
    """
    hits, base = tuned < HITS, before < HITS
    gain = hits.astype(np.float64) - base
    mean, error = float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))
    metrics = {
        "HR@10": {"tuned": round(float(hits.mean()), 5), "untuned": round(float(base.mean()), 5)},
        "gain": {"mean": round(mean, 5), "error": round(error, 5), "questions": len(gain)},
    }
    reason = (
        f"HR@10 of {len(gain)} next items {hits.mean():.4f}, {base.mean():.4f} untuned "
        f"({mean:+.4f} ± {1.96 * error:.4f})"
    )
    return metrics, mean > 1.96 * error, reason
