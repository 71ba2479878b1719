"""Why an item is absent, in words: a sentence for each stage that may have lost it."""

from __future__ import annotations

import math

from kindred.rerank.phrases import RULE, feature_words
from kindred.rerank.whynot import Lost
from kindred.schemas.why import LostAt

SAID_COSTS = 3

WHY_WORDS: dict[LostAt, str] = {
    LostAt.UNKNOWN: "The catalogue does not hold this item.",
    LostAt.PENDING: "The catalogue holds it, but the index does not show it yet.",
    LostAt.WITHDRAWN: "It is not for sale: it is sold, ended or not out yet.",
    LostAt.SEED: "It is what the question is about, or was acted on in this visit.",
    LostAt.DISLIKED: "The request names it among what to move away from, or the visitor waved it "
    "away.",
    LostAt.FILTER: "The filter of the request refuses it: {conditions}.",
    LostAt.MISMATCH: "It is near in content alone, while its top category and its brand are not "
    "the seed's, and nobody went from one to the other.",
    LostAt.NOT_RECALLED: "No source brought it: {near}.",
    LostAt.LIMIT: "It was found, but at place {place} of the merge, and {candidates} candidates "
    "are kept.",
    LostAt.DEPTH: "It was found at place {place}, deeper than the ranker orders.",
    LostAt.EXCLUDED: "It was left out: {rules}.",
    LostAt.RANKED: "The ranker put it at place {ranked} of {candidates}, and {k} are shown"
    "{costs}{limits}.",
    LostAt.PASSED: "The ranker put it at place {ranked}, but rates, prices and places of others "
    "put it at {place}, and {k} are shown.",
    LostAt.CAPPED: "The ranker put it at place {ranked}, but {rules}.",
    LostAt.SHOWN: "It is not absent: it stands at place {place}.",
}
CONDITION_WORDS: dict[str, str] = {
    "categories": "it lies in none of the categories",
    "not_categories": "it lies in a category that is left out",
    "brands": "it is of none of the brands",
    "price_min_minor": "it costs less than the least price, or its price is unknown",
    "price_max_minor": "it costs more than the highest price, or its price is unknown",
    "formats": "it is sold in none of the formats",
    "conditions": "it is in none of the conditions",
    "sellers": "none of the sellers sells it",
    "not_sellers": "its seller is left out",
    "countries": "it is in none of the countries",
    "campaigns": "it is in none of the campaigns",
    "statuses": "its status is not asked for",
    "created_after": "it was listed too early, or nobody knows when",
    "created_before": "it was listed too late, or nobody knows when",
    "auction_ends_after": "its auction ends too early, or it is none",
    "geo": "it lies outside the region, or its place is unknown",
}
"""By field of `Filters`."""
TOOK_WORDS: dict[str, str] = {
    "seller_cap": "its seller has as many items above it as one seller may",
    "sponsored_max": "its ad rate did not count, as better sponsored items fill the quota",
    "unpriced": "its ad rate did not count, as its price is unknown",
    "floor": "its ad rate did not count, as it is bought too seldom beside the others",
    "duplicates": "it is nearly the same as one above it",
    "diversity": "others add more variety",
    "own": "the visitor sells it",
    "bought": "the visitor bought it before",
    "mismatch": "it is near in content alone",
}
"""By cause; any other is the name of a rule."""
ORDERLY = frozenset({"seller_cap", "diversity", "duplicates"})
"""Causes that say nothing about an item that the ranker put too far back anyway."""


def why_words(lost: Lost, k: int) -> str:
    """The sentence of a lost item."""
    told = {name: took_words(name) for name in lost.rules}
    costs = cost_words(lost)
    return WHY_WORDS[lost.stage].format(
        conditions=", ".join(CONDITION_WORDS[name] for name in lost.conditions),
        near=near_words(lost),
        place=lost.place,
        ranked=lost.places.get("rank", lost.places.get("merge")),
        candidates=lost.candidates,
        k=k,
        rules=", ".join(told.values()) or "its place went to another",
        costs=f"; against it: {', '.join(costs)}" if costs else "",
        limits="".join(f"; {words}" for name, words in told.items() if name not in ORDERLY),
    )


def took_words(cause: str) -> str:
    """What a rule or limit did to an item."""
    return TOOK_WORDS.get(cause, f"the rule {cause.removeprefix(RULE)}")


def cost_words(lost: Lost) -> list[str]:
    """What sets it behind the last one shown, the dearest first."""
    costs = [] if lost.standing is None else lost.standing.costs
    said = [
        feature_words(cost.feature, cost.value, -cost.costs, _or_nan(cost.value_shown))
        for cost in costs
        if cost.value is not None
    ]
    return list(dict.fromkeys(words for words in said if words))[:SAID_COSTS]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def near_words(lost: Lost) -> str:
    """How near it is to being recalled."""
    said = []
    asked = next((d for d in lost.spaces if d.quota), None)
    if asked is not None:
        said.append(
            f"it is nearest in `{asked.space}`, where it is number {asked.rank} "
            f"and {asked.quota} are asked for"
        )
    if lost.together is not None:
        pairs = f"{lost.together:.3g} visits hold" if lost.together else "no visit holds"
        said.append(f"{pairs} it beside the seed")
    return ", and ".join(said) or "it shares no vector space and no visit with the seed"
