"""Reasons in words: a table of phrases by recall source, feature and cause of a move.

A feature without phrases of its own is told by what it means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kindred.rerank.features import GROUPS


@dataclass(frozen=True, slots=True)
class Phrase:
    """What to say of a feature whose value lies in [at_least, below)."""

    words: str
    against: str | None = None
    """Where less of it counts against the item; None: the words state a fact, whatever it adds."""
    at_least: float = -math.inf
    below: float = math.inf

    def said(self, value: float, adds: float, beside: float) -> str | None:
        """The words for a feature that adds so much to the score, where `beside` is usual.

        More of it is called good and less of it bad, and only where the ranker agrees: a tree that
        likes an item for how little it is sold would otherwise be put into false words.
        """
        if self.against is None:
            return self.words
        if adds >= 0:
            return None if value < beside else self.words
        return None if value >= beside else self.against


SOURCE_WORDS: dict[str, str] = {
    "pairs": "often together with the seed in one visit",
    "forward": "often next after the seed",
    "ease": "often chosen by those who choose the seed",
    "als": "liked by the people who like the seed",
    "hybrid": "close to the seed in content and in use",
    "air": "like the items that are clicked along with the seed",
    "text_tuned": "of the same kind by its title",
    "text": "its title is close to the seed's",
    "visual": "looks like the seed",
    "image": "its picture is close to the seed's",
    "shared": "its picture and title are close to the seed's",
    "attributes": "shares facts with the seed",
    "again": "this visitor chose it in earlier visits",
    "user": "fits what this visitor liked before",
    "revisit": "this visitor looked at it before",
    "popular": "a bestseller here",
    "fresh": "newly listed",
}
"""By recall source, the most telling first."""


def _yes(yes: str, no: str) -> tuple[Phrase, ...]:
    return Phrase(yes, at_least=0.5), Phrase(no, below=0.5)


def _near(to: str) -> tuple[Phrase, ...]:
    return Phrase(f"near {to}", below=25), Phrase(f"far from {to}", at_least=25)


FEATURE_WORDS: dict[str, tuple[Phrase, ...]] = {
    "same_brand": _yes("same brand", "another brand"),
    "same_seller": _yes("same seller", "another seller"),
    "same_colour": _yes("same colour", "another colour"),
    "same_condition": _yes("same condition", "another condition"),
    "seeds_of_brand": _yes("a brand of this visit", "no brand of this visit"),
    "seeds_in_leaf_category": _yes("same category", "another category"),
    "seeds_in_top_category": _yes("same department", "another department"),
    "category_levels": (
        Phrase("a close category", at_least=2),
        Phrase("same department", "only the same department", at_least=1, below=2),
        Phrase("another department", below=1),
    ),
    "price_ratio": (
        Phrase("cheaper than the seed", below=-0.05),
        Phrase("about the seed's price", at_least=-0.05, below=0.05),
        Phrase("dearer than the seed", at_least=0.05),
    ),
    "session_price_gap": (
        Phrase("cheaper than this visit's items", below=-0.05),
        Phrase("about the price of this visit's items", at_least=-0.05, below=0.05),
        Phrase("dearer than this visit's items", at_least=0.05),
    ),
    "user_price_gap": (
        Phrase("cheaper than what this user takes", below=-0.05),
        Phrase("at a price this user takes", at_least=-0.05, below=0.05),
        Phrase("dearer than what this user takes", at_least=0.05),
    ),
    "price": (Phrase("its price"),),
    "seed_km": _near("the seed"),
    "visitor_km": _near("the visitor"),
    "age_days": (Phrase("listed lately", below=7), Phrase("listed a while ago", at_least=7)),
    "last_days": (
        Phrase("looked at lately", below=7),
        Phrase("not looked at lately", at_least=7),
    ),
    "popularity": (Phrase("in demand", "in less demand"),),
    "trend": (Phrase("demand is rising", at_least=0), Phrase("demand is falling", below=0)),
    "click_rate": (Phrase("often opened", "seldom opened"),),
    "purchase_rate": (Phrase("often bought once seen", "seldom bought once seen"),),
    "shown_ctr": (Phrase("often clicked when shown", "seldom clicked when shown"),),
    "shown_cvr": (Phrase("clicks on it often end in a sale", "clicks on it seldom end in a sale"),),
    "shown_coec": (
        Phrase("clicked more than its places explain", at_least=1),
        Phrase("clicked less than its places explain", below=1),
    ),
}
"""By feature; the first phrase whose bounds hold is said."""

GROUP_WORDS: dict[str, Phrase] = {
    "history": Phrase("a good record with visitors", "a weaker record with visitors"),
    "exposure": Phrase("does well where it is shown", "does less well where it is shown"),
    "similarity": Phrase("close to the seed", "less close to the seed"),
    "attributes": Phrase("its facts agree with the seed's", "its facts agree less"),
    "title": Phrase("its title says what the seed's says", "its title says less of the seed's"),
    "affinity": Phrase("to this user's taste", "less to this user's taste"),
}
"""What is said of a group's features that have no phrase; a group that is not here tells each of
its features by what it means."""

SILENT = frozenset({"provenance", "context"})
"""Groups of which nothing is said: the sources are told anyway, and the question is one for all."""

MOVE_WORDS: dict[str, str] = {
    "rate": "moved from {before} to {after} by its ad rate of {rate}",
    "price": "moved from {before} to {after} by its price",
    "others": "moved from {before} to {after} as others were moved",
    "floor": "its ad rate of {rate} does not count, as it is bought too seldom here",
    "unpriced": "its ad rate of {rate} does not count, as its price is unknown",
    "sponsored_max": "its ad rate of {rate} does not count: better sponsored items fill the quota",
    "seller_cap": "put behind others, as its seller has enough items above it",
    "duplicates": "put behind others, as it is nearly the same as one above it",
    "auction": "stands at {after} because its campaign bought views",
    "diversity": "moved from {before} to {after} for variety",
    "explore": "stands at {after} by chance: this answer was drawn in random order",
}
"""By cause; any other is a rule that somebody wrote, and told as one."""
RULE_WORDS = "moved from {before} to {after} by the rule {cause}"
RULE = "rule:"
"""What names of such rules begin with."""

_ABOUT = {
    feature.name: (group.name, feature.meaning) for group in GROUPS for feature in group.features
}


def group_of(feature: str) -> str:
    """The group of a feature."""
    return _ABOUT[feature][0]


def feature_words(feature: str, value: float, adds: float, beside: float) -> str | None:
    """What to say of a feature with this value that adds so much to the score.

    `beside` is the value to call it more or less than: what is usual, or another item's; NaN where
    nobody knows. None where there is nothing to say that is true and telling.
    """
    group, meaning = _ABOUT[feature]
    if group in SILENT or math.isnan(value):
        return None
    own = (p for p in FEATURE_WORDS.get(feature, ()) if p.at_least <= value < p.below)
    return next(own, GROUP_WORDS.get(group, Phrase(meaning))).said(value, adds, beside)


def move_words(cause: str, before: int | None, after: int, rate: str) -> str:
    """What to say of a move, or of a rate that did not count."""
    words = MOVE_WORDS.get(cause, RULE_WORDS)
    return words.format(cause=cause.removeprefix(RULE), before=before, after=after, rate=rate)


def percent(basis_points: int) -> str:
    """`5 %`, `2.5 %`"""
    return f"{basis_points / 100:g} %"


def sentence(*clauses: list[str]) -> str:
    """Clauses parted by semicolons, the parts of each by commas; with a capital and a full stop."""
    said = "; ".join(", ".join(dict.fromkeys(parts)) for parts in clauses if parts)
    return f"{said[:1].upper()}{said[1:]}." if said else ""
