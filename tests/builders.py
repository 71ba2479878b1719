"""Whole valid records with one field changed: `item(price_minor=10)`."""

from __future__ import annotations

from itertools import count
from typing import Any

from kindred.schemas.event import Action, Event
from kindred.schemas.item import Item

_numbers = count(1)


def item(**fields: Any) -> Item:
    """A listing; `item_id` is fresh unless given."""
    n = next(_numbers)
    return Item(
        **{
            "item_id": f"item-{n}",
            "title": "oak dining table",
            "price_minor": 12_500,
            "currency": "EUR",
            "category": ("home", "furniture", "tables"),
            "created_at": 1_700_000_000_000_000,
            **fields,
        }
    )


def event(**fields: Any) -> Event:
    """An action of one visitor; `event_id` is fresh unless given."""
    n = next(_numbers)
    return Event(
        **{
            "event_id": f"event-{n}",
            "occurred_at": 1_700_000_000_000_000 + n,
            "action": Action.VIEW,
            "entity_id": "item-1",
            "user_id": "user-1",
            **fields,
        }
    )
