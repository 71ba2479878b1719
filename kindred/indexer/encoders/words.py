"""Word vectors of the marketplace's own words (SPEC F7, §3.3: word2vec, Mikolov et al. 2013).

Skip-gram with negative sampling over titles and descriptions, each distinct text once. What the
convolutional classifier starts from, and the space in which a picture's title is predicted (F8).

Digits are read as Collobert et al. (2011) read them: each run of them is one sign, so `564xl` and
`920xl` are one word, `0xl`. Article numbers are most of what a shop's titles hold only once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from kindred.indexer.content import Content
from kindred.indexer.models import Artefact
from kindred.indexer.representations import Given
from kindred.indexer.stages import Made
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import WordSettings

CODE = 1
UNKNOWN_LIMIT = 0.08
"""Gate: the largest share of the words of titles that may go without a vector (SPEC §3.3)."""
WORDS_PER_COUNT = 20_000
"""Text for each occurrence that a word must have, up to `min_count`: in a small catalogue more of
what is worth a vector is rare."""
FEWEST_WORDS = 100
"""With less text than this there is nothing to learn."""
SHOWN = 10
_WORD = re.compile(r"[^\W_]+")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Words:
    """V words with vectors, the most frequent first."""

    names: tuple[str, ...]
    vectors: Floats
    """float32[V, d], as trained: a rare word's is short"""
    version: str = ""
    """Of what was trained."""

    @classmethod
    def of(cls, artefact: Artefact) -> Words:
        """As kept by `make`."""
        return cls(
            tuple(artefact.texts["words"].split("\n")),
            artefact.arrays["vectors"],
            f"words/{artefact.card.key}",
        )

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.vectors.shape[1])

    @cached_property
    def code_of(self) -> Mapping[str, int]:
        """Row in `vectors` by word."""
        return {name: code for code, name in enumerate(self.names)}

    @staticmethod
    def tokens(text: str) -> list[str]:
        """The words of a text: small letters, each run of digits as `0`, no punctuation."""
        return _WORD.findall(_DIGITS.sub("0", text.casefold()))

    def codes(self, texts: Sequence[str], limit: int) -> Rows:
        """int64[n, limit]: the first `limit` words of each text that have a vector, then -1."""
        found = np.full((len(texts), limit), -1, np.int64)
        get = self.code_of.get
        for row, text in enumerate(texts):
            known = [c for word in self.tokens(text) if (c := get(word)) is not None][:limit]
            found[row, : len(known)] = known
        return found

    def mean_of_first(self, titles: Sequence[str], n: int) -> tuple[Floats, Mask]:
        """(float32[len(titles), d], bool[len(titles)]): FINN's target for pictures.

        The direction of the mean of the first `n` words of each title that have a vector: unit
        length, or zero and absent for a title without any.
        """
        means = self.means(self.codes(titles, n))
        norms = np.linalg.norm(means, axis=1, keepdims=True)
        present = norms[:, 0] > 0
        return np.divide(means, norms, out=np.zeros_like(means), where=norms > 0), present

    def means(self, codes: Rows) -> Floats:
        """float32[n, d]: mean vector of int64[n, w] codes, -1 for none; zero where all are."""
        means = np.zeros((len(codes), self.dim), np.float32)
        for column in codes.T:  # a column at a time: n × w × d need not be held
            means += np.where((column >= 0)[:, None], self.vectors[column], 0)
        means /= np.maximum((codes >= 0).sum(axis=1, keepdims=True), 1)
        return means

    def nearest(self, word: str, k: int) -> list[str]:
        """The `k` words of the smallest angle to one that has a vector."""
        at = self.code_of[word]
        lengths = np.linalg.norm(self.vectors, axis=1)
        cosines = self.vectors @ self.vectors[at] / np.maximum(lengths, 1e-12)
        cosines[at] = -np.inf
        return [self.names[i] for i in np.argsort(-cosines, kind="stable")[:k]]


def item_words(title: str, description: str) -> str:
    """What the modules of words read of an item: never its category, which they must guess."""
    return f"{title} {description}".strip()


def words_of_rows(content: Content) -> list[str]:
    """`item_words` of each row."""
    descriptions = content.descriptions or [""] * len(content.titles)
    return [item_words(t, d) for t, d in zip(content.titles, descriptions, strict=True)]


def make(given: Given, _: Mapping[str, Artefact], progress: Progress) -> Made:
    """Train on the catalogue's text; the gate asks how many words of titles have no vector."""
    settings = given.settings.representations.words
    texts = dict.fromkeys(words_of_rows(given.content))
    sentences = [said for text in texts if (said := Words.tokens(text))]
    total = sum(map(len, sentences))
    if total < FEWEST_WORDS:
        return Made.refused(f"{total} words of text are too few to learn from")
    least = least_count(total, settings.min_count)
    if max(Counter(chain.from_iterable(sentences)).values()) < least:
        return Made.refused(f"no word of the text occurs {least} times")
    words, counts = train_words(sentences, settings, least, given.settings.seed, progress)
    titles = Counter(chain.from_iterable(map(Words.tokens, dict.fromkeys(given.content.titles))))
    unknown = unknown_share(titles, words.code_of)
    told = f"{unknown:.1%} of the words of titles have no vector"
    return Made(
        arrays={"vectors": words.vectors, "counts": counts},
        texts={"words": "\n".join(words.names)},
        metrics={
            "texts": len(sentences),
            "words of text": total,
            "fewest occurrences": least,
            "unknown share of title words": round(unknown, 4),
            "nearest": {w: words.nearest(w, 5) for w in content_words(words, counts, titles)},
        },
        passed=unknown <= UNKNOWN_LIMIT,
        reason=f"{told}, at most {UNKNOWN_LIMIT:.0%} may",
        summary=f"{len(words.names):,} words; {told}",
    )


def least_count(total: int, wanted: int) -> int:
    """How often a word must occur to get a vector, in a catalogue of `total` words."""
    return min(wanted, 1 + total // WORDS_PER_COUNT)


def train_words(
    sentences: Sequence[list[str]],
    settings: WordSettings,
    least: int,
    seed: int,
    progress: Progress,
) -> tuple[Words, Rows]:
    """(words, int64[V] how often each occurs). One worker: the same seed gives the same vectors."""
    from gensim.models import Word2Vec
    from gensim.models.callbacks import CallbackAny2Vec

    class Told(CallbackAny2Vec):  # type: ignore[misc]
        """Tells the progress of each epoch's end."""

        def on_epoch_end(self, _: Any) -> None:
            """See gensim."""
            advance(1)

    model = Word2Vec(
        vector_size=settings.embedding_size, window=settings.window, negative=settings.negatives,
        min_count=least, epochs=settings.epochs, sg=1, workers=1, seed=seed,
    )  # fmt: skip
    model.build_vocab(sentences)
    with progress.task("words", settings.epochs) as advance:
        model.train(
            sentences,
            total_examples=len(sentences),
            epochs=settings.epochs,
            callbacks=[Told()],
        )
    found = model.wv
    counts = np.array([found.get_vecattr(w, "count") for w in found.index_to_key], np.int64)
    vectors = np.ascontiguousarray(found.vectors, np.float32)
    return Words(tuple(found.index_to_key), vectors), counts


def unknown_share(occurrences: Mapping[str, int], known: Iterable[str]) -> float:
    """Share of occurrences of words that are not known."""
    total = sum(occurrences.values())
    return 1 - sum(occurrences.get(word, 0) for word in known) / max(total, 1)


def content_words(words: Words, counts: Rows, titles: Mapping[str, int]) -> list[str]:
    """The most frequent words of titles that say what an item is.

    In any language, words that only join others are rarer in titles than in sentences. Numbers and
    single letters are left out.
    """
    share = np.array([titles.get(word, 0) for word in words.names], np.float64)
    telling = share / max(share.sum(), 1) >= counts / counts.sum()
    order = np.argsort(-share, kind="stable")
    chosen = (words.names[i] for i in order if telling[i])
    return [word for word in chosen if len(word) > 2 and word.isalpha()][:SHOWN]
