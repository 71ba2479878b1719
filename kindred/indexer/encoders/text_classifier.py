"""Guess an item's category from its words; the layer below the guess is its vector (SPEC F7).

A convolutional network over word vectors (Collobert et al. 2011, as Kim 2014 has it): filters that
span 3, 4 and 5 words, the strongest answer of each over the text, a dense layer, and two heads: the
first and the second level of the category path. It starts from the marketplace's word vectors and
goes on training them.

A window lies within its text, and in a text that is shorter it sees zeros behind the end, so what
a text is next to in a batch does not change its vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.encoders.labelled import (
    HEADS,
    Labelled,
    bag_guesses,
    compared,
    enough,
    labelled_texts,
)
from kindred.indexer.encoders.learned import Vectors
from kindred.indexer.encoders.text import DESCRIPTION_CHARACTERS
from kindred.indexer.encoders.words import Words, item_words, words_of_rows
from kindred.indexer.models import Artefact
from kindred.indexer.representations import SPACES, Given
from kindred.indexer.runtime import load_torch
from kindred.indexer.stages import Made
from kindred.indexer.training import fit, seeded
from kindred.schemas.item import Item
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import ClassifierSettings

CODE = 1
DROPOUT = 0.2
"""Of the filters' answers, in training. Half of them, as Kim (2014) has it, is too much for titles
of six words: on Complete Journey 0.8 % fewer subcategories are right."""
AT_ONCE = 1024
"""Texts computed at once."""


@dataclass(frozen=True)
class TextClassifier:
    """The trained network in numpy, as a `Learned` module."""

    words: Words
    arrays: Mapping[str, NDArray[Any]]
    """Weights by name, as `network` has them."""
    version: str
    space: str = SPACES["text_classifier"]
    reads: tuple[str, ...] = ()

    @classmethod
    def of(cls, artefact: Artefact) -> TextClassifier:
        """As kept by `make`."""
        words = Words.of(artefact)
        return cls(words, artefact.arrays, f"text_classifier/{artefact.card.key}")

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return len(self.arrays["top_bias"])

    def facts(self, item: Item) -> bytes:
        """The words that it reads."""
        return item_words(item.title, item.description[:DESCRIPTION_CHARACTERS]).encode()

    def embed(self, items: Sequence[Item], _: Vectors) -> tuple[Floats, Mask]:
        """See Learned.embed. An item with none of the words has no vector."""
        return self.embed_texts([self.facts(item).decode() for item in items])

    def embed_texts(self, texts: Sequence[str]) -> tuple[Floats, Mask]:
        """(float32[n, d] unit, bool[n]); equal texts are computed once."""
        places: dict[str, int] = {}
        of_text = np.array([places.setdefault(t, len(places)) for t in texts], np.int64)
        codes = self.words.codes(list(places), int(self.arrays["limit"]))
        top = self.top(codes)
        norms = np.linalg.norm(top, axis=1, keepdims=True)
        present = (codes[:, 0] >= 0) & (norms[:, 0] > 0)
        unit = np.where(present[:, None], top / np.maximum(norms, 1e-12), 0).astype(np.float32)
        return unit[of_text], present[of_text]

    def top(self, codes: Rows) -> Floats:
        """float32[n, d]: the top layer of int64[n, limit] codes, -1 behind a text's end."""
        top = np.zeros((len(codes), self.dim), np.float32)
        lengths = (codes >= 0).sum(axis=1)
        order = np.argsort(lengths, kind="stable")
        for low in range(0, len(order), AT_ONCE):
            part = order[low : low + AT_ONCE]
            top[part] = self._top(codes[part], lengths[part])
        return top

    def _top(self, codes: Rows, lengths: Rows) -> Floats:
        a = self.arrays
        answers = []
        for k in range(sum(name.startswith("filters_") for name in a) // 2):
            kernel = a[f"filters_{k}_weight"]  # [filters, width · d]
            width = kernel.shape[1] // self.words.dim
            windows, starts = windows_of(codes, lengths, width)
            heard = self._vectors[windows].reshape(len(windows), -1) @ kernel.T
            answers.append(np.maximum.reduceat(heard, starts, axis=0) + a[f"filters_{k}_bias"])
        z = np.maximum(np.hstack(answers), 0)
        top: Floats = np.tanh(z @ a["top_weight"].T + a["top_bias"])
        return top

    @cached_property
    def _vectors(self) -> Floats:
        """The words' vectors, and zeros at the last place, which code -1 means."""
        return np.vstack([self.words.vectors, np.zeros((1, self.words.dim), np.float32)])


def load(artefact: Artefact, _: Mapping[str, Artefact]) -> TextClassifier:
    """The module that serves."""
    return TextClassifier.of(artefact)


def windows_of(codes: Rows, lengths: Rows, width: int) -> tuple[Rows, Rows]:
    """(int64[m, width] codes, int64[n] where each text's begin) of the windows of n texts.

    A text has as many as fit into it, and one where it is shorter.
    """
    steps = max(int(lengths.max(initial=1)), 1)
    read = np.full((len(codes), steps + width - 1), -1, np.int64)
    read[:, :steps] = codes[:, :steps]
    counts = np.maximum(lengths - width + 1, 1)
    fits = np.arange(steps)[None, :] < counts[:, None]
    windows = np.lib.stride_tricks.sliding_window_view(read, width, axis=1)[fits]
    return windows, np.cumsum(counts) - counts


def network(vectors: Floats, classes: Mapping[str, int], settings: ClassifierSettings) -> Any:
    """A fresh network that starts from word vectors float32[V, d].

    It maps int64[n, w] codes + 1, 0 behind a text's end, to the top layer float32[n, embedding];
    `guess` maps that to the scores of one head's classes.
    """
    torch = load_torch()
    nn = torch.nn

    class Network(nn.Module):  # type: ignore[name-defined,misc]
        """See `network`."""

        def __init__(self) -> None:
            super().__init__()
            size = vectors.shape[1]
            start = np.vstack([np.zeros((1, size), np.float32), vectors])
            self.words = nn.Embedding.from_pretrained(
                torch.from_numpy(start), freeze=False, padding_idx=0
            )
            self.filters = nn.ModuleList(
                nn.Linear(width * size, settings.filters) for width in settings.widths
            )
            self.top = nn.Linear(settings.filters * len(settings.widths), settings.embedding_size)
            self.heads = nn.ModuleDict(
                {name: nn.Linear(settings.embedding_size, n) for name, n in classes.items()}
            )
            self.dropout = nn.Dropout(DROPOUT)

        def forward(self, codes: Any) -> Any:
            """See `network`."""
            lengths = (codes > 0).sum(1)
            steps = max(int(lengths.max()), 1)
            codes = nn.functional.pad(codes[:, :steps], (0, max(settings.widths) - 1))
            at = torch.arange(steps, device=codes.device)[None, :]
            answers = []
            for layer, width in zip(self.filters, settings.widths, strict=True):
                # Only windows that fit are computed: in titles they are the smaller part.
                fits = at < (lengths - width + 1).clamp(min=1)[:, None]
                windows = codes[:, : steps + width - 1].unfold(1, width, 1)[fits]
                heard = torch.zeros((*fits.shape, settings.filters), device=codes.device)
                heard[fits] = torch.relu(layer(self.words(windows).flatten(1)))
                answers.append(heard.amax(1))
            return torch.tanh(self.top(self.dropout(torch.cat(answers, dim=1))))

        def guess(self, top: Any, head: str) -> Any:
            """float32[n, classes]."""
            return self.heads[head](top)

    return Network()


def arrays_of(net: Any) -> dict[str, NDArray[Any]]:
    """The weights by name, as `TextClassifier` reads them; the words' vectors as `vectors`."""
    state = {n.replace(".", "_"): v.detach().cpu().numpy() for n, v in net.state_dict().items()}
    state["vectors"] = np.ascontiguousarray(state.pop("words_weight")[1:])
    return state


def make(given: Given, artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
    """Train on the catalogue's categories; the gate is a bag of words trained on the same."""
    settings = given.settings.representations.text_classifier
    if "words" not in artefacts or "words" not in artefacts["words"].texts:
        return Made.refused("the stage `words`, whose vectors it starts from, is not in use")
    words = Words.of(artefacts["words"])
    if len(words.vectors) == 0:
        return Made.refused("there are no word vectors to start from")
    texts = words_of_rows(given.content)
    data = labelled_texts(
        texts, given.content.columns.category, words, settings.max_tokens, settings.items,
        given.settings.seed,
    )  # fmt: skip
    if data.reason:
        return Made.refused(data.reason)
    arrays, guessed, facts = _trained(words, data, given, progress)
    bag, bag_facts = bag_guesses(words, data, given, progress)
    metrics, passed, reason = compared(data, guessed, bag)
    module = TextClassifier(Words(words.names, arrays["vectors"]), arrays, "")
    unit, present = module.embed_texts(texts)
    return Made(
        arrays={**arrays, "unit": unit, "present": present, "tested": data.rows[data.tested]},
        texts={"words": "\n".join(words.names)},
        metrics={**metrics, "network": facts, "bag of words": bag_facts},
        passed=passed,
        reason=reason,
        summary=reason,
    )


def _trained(
    words: Words, data: Labelled, given: Given, progress: Progress
) -> tuple[dict[str, NDArray[Any]], Mapping[str, Rows], dict[str, Any]]:
    """(arrays of the network, its guesses for each head at the tested texts, how it went)."""
    chosen = given.settings.representations
    settings = chosen.text_classifier
    with seeded(given.settings.seed, chosen.threads) as torch:
        net = network(words.vectors, data.classes, settings).to(chosen.device)
        codes = torch.from_numpy(data.codes + 1).to(chosen.device)
        labels = {h: torch.from_numpy(data.labels[h]).to(chosen.device) for h in data.classes}
        loss = torch.nn.functional.cross_entropy

        def loss_of(part: Rows) -> Any:
            rows = torch.from_numpy(data.training[part]).to(chosen.device)
            top = net(codes[rows])
            # A text without a second level teaches the first alone.
            terms = [
                loss(net.guess(top, h), labels[h][rows], ignore_index=-1, reduction="sum")
                for h in data.classes
            ]
            return torch.stack(terms).sum() / len(rows)

        def guesses(rows: Rows) -> dict[str, Rows]:
            found: dict[str, list[Rows]] = {h: [] for h in data.classes}
            with torch.inference_mode():
                for low in range(0, len(rows), AT_ONCE):
                    top = net(codes[torch.from_numpy(rows[low : low + AT_ONCE])])
                    for h, parts in found.items():
                        parts.append(net.guess(top, h).argmax(1).cpu().numpy())
            return {h: np.concatenate(parts) for h, parts in found.items()}

        trained = fit(
            net, len(data.training), loss_of, enough(settings.loop, len(data.training)),
            seed=given.settings.seed, name="text_classifier", progress=progress,
            score=lambda: data.accuracy(data.judged, guesses(data.development)[data.judged]),
        )  # fmt: skip
        arrays = arrays_of(net) | {"limit": np.array(settings.max_tokens)}
        tested = guesses(data.tested)
    assert set(tested) <= set(HEADS)
    return arrays, tested, trained.facts
