"""Titles, descriptions and attributes like people write them: from the truth, with gaps and errors.

What is drawn is drawn in columns before; the strings are put together listing by listing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.listings import CONDITIONS, Brands, Categories, Listings
from kindred.experiments.marketsim.taxonomy import COLOURS, MATERIALS, Leaf
from kindred.experiments.marketsim.words import (
    BAIT,
    BAIT_TITLE,
    COLLECT,
    CONDITION_WORDS,
    FINE,
    PLAIN,
    REASONS,
    SHOP,
    SIZES,
    SOLID,
    STYLE_WORDS,
    TERSE,
    WORN,
)
from kindred.schemas.ranking import Mask

MOST_WORDS = 5
"""Style words of a title, or of a description, at most."""
_COLOURS = tuple(COLOURS)
_BAITING = 0.5
"""Clickbait from which a text shouts."""
_BRANDED = 0.75
"""Chance that a brand which is stated at all is in the title."""


@dataclass(frozen=True, slots=True)
class Text:
    """What one listing says."""

    title: str
    description: str
    category: tuple[str, ...]
    brand: str | None
    colour: str | None
    materials: tuple[str, ...]
    attributes: dict[str, str | float]


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """What is decided by chance for each listing."""

    adjectives: NDArray[np.int32]
    """[N, 2, MOST_WORDS] style dimensions of the title and of the description"""
    ends: Mask
    """[N, S]: at the positive end of the dimension"""
    counts: NDArray[np.int64]
    """[N, 2] style words in the title and in the description"""
    pick: NDArray[np.int64]
    """[N, 24] numbers from which phrases are taken"""
    chance: NDArray[np.float64]
    """[N, 16] uniform draws"""
    size: NDArray[np.float64]
    """[N] measured size relative to the category's median"""


def write_texts(
    knobs: MarketKnobs,
    categories: Categories,
    brands: Brands,
    listings: Listings,
    rng: np.random.Generator,
) -> list[Text]:
    """One text for each listing."""
    draws = _draw(knobs, categories, listings, rng)
    siblings = _siblings(categories)
    writer = _Writer(knobs, categories, brands, listings, draws, siblings)
    return [writer.text(n) for n in range(len(listings.category))]


def _draw(
    knobs: MarketKnobs, categories: Categories, listings: Listings, rng: np.random.Generator
) -> _Draws:
    """A listing says what sets it apart from its kind, more than what all of its kind share."""
    n = len(listings.category)
    apart = listings.style - 0.5 * categories.centre[listings.category]
    keen = np.abs(apart) / knobs.style_temperature
    chosen = [
        np.argsort(-(keen + rng.gumbel(size=keen.shape)), axis=1)[:, :MOST_WORDS] for _ in range(2)
    ]
    means = (knobs.title_adjectives, knobs.description_adjectives)
    return _Draws(
        adjectives=np.stack(chosen, axis=1).astype(np.int32),
        ends=apart > 0,
        counts=np.minimum(rng.poisson(means, (n, 2)), min(MOST_WORDS, knobs.style_size)),
        pick=rng.integers(0, 1 << 30, (n, 24)),
        chance=rng.random((n, 16)),
        size=np.exp(0.25 * rng.standard_normal(n)),
    )


def _siblings(categories: Categories) -> list[list[int]]:
    """For each leaf the others under its parent, or under its top category if it is alone."""
    found = []
    for leaf in range(len(categories.leaves)):
        near = np.flatnonzero(categories.parent == categories.parent[leaf])
        if len(near) == 1:
            near = np.flatnonzero(categories.top == categories.top[leaf])
        found.append([int(other) for other in near if other != leaf])
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Writer:
    knobs: MarketKnobs
    categories: Categories
    brands: Brands
    listings: Listings
    draws: _Draws
    siblings: list[list[int]]

    def text(self, n: int) -> Text:
        """What listing `n` says of itself."""
        knobs, said = self.knobs, self.listings
        chance, pick = self.draws.chance[n].tolist(), self.draws.pick[n].tolist()
        leaf = self.categories.leaves[said.category[n]]
        gap = knobs.attribute_gap * (1.0 if said.unique[n] else 0.5)
        brand_gap = knobs.brand_gap * (1.0 if said.unique[n] else 0.25)
        brand = self.brands.names[said.brand[n]] if chance[0] >= brand_gap else None
        colour = _COLOURS[said.colour[n]]
        if chance[1] < knobs.wrong_word_share:
            colour = _COLOURS[pick[0] % len(_COLOURS)]
        material = MATERIALS[said.material[n]]
        word = leaf.words[0 if chance[2] < 0.6 else pick[1] % len(leaf.words)]
        if chance[3] < knobs.wrong_word_share:
            word = self._beside(n, pick[2]).words[0]
        size, attributes = self._size(n, leaf, pick[3])
        series = self.brands.series[said.brand[n]][said.series[n]]
        parts = {
            "word": word,
            "brand": brand,
            "series": f"{series} {100 * (1 + pick[4] % 9)}" if chance[4] < 0.5 else series,
            "colour": colour,
            "material": material,
            "size": size,
            "adjectives": self._adjectives(n, 0, pick[5]),
            "condition": _one(CONDITION_WORDS[CONDITIONS[said.condition[n]].value], pick[6]),
        }
        return Text(
            title=self._title(n, parts, chance, pick),
            description=self._description(n, parts, chance, pick),
            category=(
                self._beside(n, pick[7]).path if chance[5] < knobs.misfiled_share else leaf.path
            ),
            brand=brand,
            colour=colour if chance[6] >= gap else None,
            materials=(material,) if chance[7] >= gap else (),
            attributes=self._attributes(n, attributes, series, chance, gap),
        )

    def _beside(self, n: int, pick: int) -> Leaf:
        """A neighbouring category, which it is not."""
        others = self.siblings[self.listings.category[n]]
        return self.categories.leaves[others[pick % len(others)]]

    def _adjectives(self, n: int, where: int, pick: int) -> list[str]:
        """Style words: of the title (`where` 0) or of the description (1)."""
        count = self.draws.counts[n, where]
        dims = self.draws.adjectives[n, where, :count]
        words = []
        for d in dims.tolist():
            end = STYLE_WORDS[d][0 if self.draws.ends[n, d] else 1]
            words.append(end[(pick + d) % len(end)])
        return words

    def _size(self, n: int, leaf: Leaf, pick: int) -> tuple[str, dict[str, str | float]]:
        """How its size is written, and as an attribute."""
        if leaf.size == "cm":
            width = round(float(leaf.median_size * self.draws.size[n]))
            return f"{width} cm", {"width_cm": float(width)}
        if leaf.size == "litre":
            content = round(float(leaf.median_size * self.draws.size[n]), 1)
            return f"{content:g} l", {"volume_l": content}
        if not leaf.size:
            return "", {}
        name, options = SIZES[leaf.size]
        written = options[pick % len(options)]
        number = "".join(c for c in written if c.isdigit())
        plain = leaf.size in {"clothes", "shoes", "age"}
        return written, {name: written.removeprefix("size ") if plain else float(number)}

    def _attributes(
        self,
        n: int,
        size: dict[str, str | float],
        series: str,
        chance: list[float],
        gap: float,
    ) -> dict[str, str | float]:
        found: dict[str, str | float] = dict(size) if chance[8] >= gap else {}
        if chance[9] >= gap:
            found["series"] = series
        if self.draws.counts[n, 1] and chance[10] >= gap:
            found["look"] = self._adjectives(n, 1, 0)[0]
        return found

    def _title(self, n: int, parts: dict[str, Any], chance: list[float], pick: list[int]) -> str:
        """One of the orders in which people say it, with parts missing."""
        unique = self.listings.unique[n]
        brand = parts["brand"] if parts["brand"] and chance[11] < _BRANDED else ""
        series = parts["series"] if brand and chance[12] < (0.4 if unique else 0.85) else ""
        colour = parts["colour"] if pick[8] % 100 < 60 else ""
        material = parts["material"] if pick[9] % 100 < 30 else ""
        size = parts["size"] if pick[10] % 100 < 45 else ""
        condition = parts["condition"] if unique and pick[11] % 100 < 35 else ""
        looks = " ".join(parts["adjectives"])
        thing = " ".join(w for w in (looks, colour, material, parts["word"]) if w)
        orders = (
            _join(" ", thing, brand, series, size),
            _join(" ", brand, series, thing, size),
            _join(", ", _join(" ", brand, series, parts["word"]), colour, looks, material, size),
            _join(" - ", _join(" ", thing, size), _join(" ", brand, series), condition),
            _join(" ", condition, thing, brand and f"by {brand}", series, size),
            _join(", ", _join(" ", brand, series, thing), size, condition),
        )
        title = orders[pick[12] % len(orders)]
        if chance[13] < self.knobs.typo_share:
            title = _slip(title, pick[13])
        bait = self.listings.clickbait[n] >= _BAITING
        if bait and pick[14] % 100 < 60:
            title = f"{_one(BAIT_TITLE, pick[15])} {title}"
        if chance[14] < self.knobs.caps_share * (5 if bait else 1):
            return title.upper()
        return title if unique and pick[16] % 100 < 35 else title[:1].upper() + title[1:]

    def _description(
        self, n: int, parts: dict[str, Any], chance: list[float], pick: list[int]
    ) -> str:
        """Sentences of varying completeness; second-hand ones tell of wear, by quality."""
        if chance[15] < self.knobs.terse_share:
            return _one(TERSE, pick[17])
        unique, quality = self.listings.unique[n], self.listings.quality[n]
        by = f" from {parts['brand']}" if parts["brand"] else ""
        word, condition = parts["word"], parts["condition"]
        opening = (
            (f"Selling {_a(word)}{by}.", f"For sale: {_a(word)}{by}, {condition}.")
            if unique
            else (f"New {word}{by}.", f"The {parts['series']}{by}: {_a(word)}.")
        )
        looks = self._adjectives(n, 1, pick[18])
        poor, good = (WORN, FINE) if unique else (PLAIN, SOLID)
        wear = poor if quality < -0.7 else good if quality > 0.7 else ()
        said = [
            _one(opening, pick[19]),
            f"{_a(looks[0]).capitalize()} piece."
            if len(looks) == 1
            else f"It is {_listed(looks)}.",
            f"Made of {parts['material']}." if pick[20] % 100 < 55 else "",
            f"The colour is {parts['colour']}." if pick[20] // 100 % 100 < 40 else "",
            f"Size: {parts['size'].removeprefix('size ')}." if parts["size"] else "",
            _one(wear, pick[21]) if wear and pick[21] // 16 % 100 < 70 else "",
            _one(BAIT, pick[22]) if self.listings.clickbait[n] >= _BAITING else "",
            _one(REASONS, pick[22]) if unique and pick[22] // 64 % 2 else "",
            _one(COLLECT if unique else SHOP, pick[23]),
        ]
        if not looks:
            said[1] = ""
        keep = 1 + pick[23] // 64 % len(said)
        return " ".join([s for s in said[:keep] if s] + [s for s in said[6:7] if s and keep <= 6])


def _join(separator: str, *parts: str | None) -> str:
    return separator.join(p for p in parts if p)


def _one(options: tuple[str, ...], pick: int) -> str:
    return options[pick % len(options)]


def _a(word: str) -> str:
    if word.startswith("pair of") or (word.endswith("s") and not word.endswith("ss")):
        return word
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _listed(words: list[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _slip(title: str, pick: int) -> str:
    """A letter lost, doubled or swapped in one of the longer words."""
    words = title.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not long:
        return title
    i = long[pick % len(long)]
    at = 1 + pick // 16 % (len(words[i]) - 2)
    word = words[i]
    words[i] = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )[pick // 1024 % 3]
    return " ".join(words)
