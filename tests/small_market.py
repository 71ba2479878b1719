"""A small seeded marketplace: items in families, visitors who keep to a few of them.

Every third item of a family is cheap, and only cheap ones are bought: something to learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kindred.schemas.clock import DAY
from kindred.schemas.event import Action, Event
from kindred.schemas.item import Campaign, Item, Location

START = 1_700_000_000_000_000
"""The first event's day."""
DAYS = 60
FAMILIES = [
    (department, kind)
    for department, kinds in {
        "kitchen": ["milk", "bread", "coffee", "cheese"],
        "garden": ["rake", "seed", "pot", "hose"],
        "music": ["guitar", "drum", "piano", "microphone"],
    }.items()
    for kind in kinds
]
CHEAP_EVERY = 3
WORDS = ["oak", "red", "small", "fresh", "classic", "blue", "large", "organic", "steel", "soft"]


def _dear(number: int) -> bool:
    return number // len(FAMILIES) % CHEAP_EVERY != 0


def small_items(names: Sequence[str], *, seed: int = 7) -> list[Item]:
    """One item for each id; neighbours in the list belong to different families."""
    random = np.random.default_rng(seed)
    items = []
    for n, name in enumerate(names):
        department, kind = FAMILIES[n % len(FAMILIES)]
        words = random.choice(WORDS, 2, replace=False)
        sponsored = n % 7 == 3
        items.append(
            Item(
                item_id=name,
                title=f"{words[0]} {words[1]} {kind} no {n}",
                brand=f"brand {n % 5}",
                seller_id=f"seller-{n % 20}",
                category=(department, kind),
                price_minor=int(random.integers(100, 400) * (8 if _dear(n) else 1)),
                currency="USD",
                created_at=START - int(random.integers(1, 90)) * DAY,
                location=Location(lat=50 + float(random.random()), lon=8 + float(random.random()))
                if n % 2
                else None,
                campaign=Campaign.PLS if sponsored else Campaign.NONE,
                ad_rate_bp=int(random.integers(200, 1500)) if sponsored else 0,
            )
        )
    return items


def small_events(
    names: Sequence[str], *, users: int = 120, visits: int = 16, seed: int = 7
) -> list[Event]:
    """Visits of views, each ending in a purchase, mostly within one family; ordered by time."""
    random = np.random.default_rng(seed)
    families = [names[f :: len(FAMILIES)] for f in range(len(FAMILIES))]
    events = []
    for user in range(users):
        tastes = random.choice(len(FAMILIES), 2, replace=False)
        for visit in range(visits):
            family = families[random.choice(tastes)]
            at = START + int(random.integers(0, DAYS * DAY))
            picks = (random.random(5) ** 2 * len(family)).astype(int)
            for step, pick in enumerate(picks):
                bought = step >= 3
                place = pick - pick % CHEAP_EVERY if bought else pick
                events.append(
                    Event(
                        event_id=f"e-{user}-{visit}-{step}",
                        occurred_at=at + step * 30_000_000,
                        action=Action.PURCHASE if bought else Action.VIEW,
                        entity_id=family[place],
                        user_id=f"user-{user}",
                        session_id=f"visit-{user}-{visit}",
                    )
                )
    return sorted(events, key=lambda event: event.occurred_at)
