"""Fields that columns can be mapped to, and what each of them holds."""

from __future__ import annotations

from dataclasses import dataclass

from kindred.indexer.readers.conversion import Kind
from kindred.schemas.errors import InputError
from kindred.schemas.item import MAX_LEVELS

_ATTRIBUTE = "attributes."


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one record type."""

    kinds: dict[str, Kind]
    key: str
    """The field that names the item: its column may hold lists, one record for each element."""
    longest: dict[str, int]
    """Characters that a text, or each word of a list, may have."""
    most: dict[str, int]
    """Words that a list may have."""

    def kind(self, field: str) -> Kind:
        """What `field` holds; InputError for one that does not exist."""
        if field in self.kinds:
            return self.kinds[field]
        if "attributes" in self.kinds and field.startswith(_ATTRIBUTE) and field != _ATTRIBUTE:
            return Kind.ATTRIBUTE
        raise InputError(f"no field {field!r}; there are {', '.join(self.kinds)}", f"$.{field}")

    def limit(self, field: str) -> int | None:
        """Characters that `field` may have, None where it is no text that could be cut."""
        return self.longest.get(_ATTRIBUTE if field.startswith(_ATTRIBUTE) else field)


ITEM_FIELDS = Fields(
    kinds={
        "item_id": Kind.ID,
        "title": Kind.TEXT,
        "description": Kind.TEXT,
        "seller_id": Kind.ID,
        "brand": Kind.TEXT,
        "category": Kind.WORDS,
        "attributes": Kind.OBJECT,
        "colour": Kind.TEXT,
        "materials": Kind.WORDS,
        "images": Kind.WORDS,
        "price_minor": Kind.MONEY,
        "shipping_minor": Kind.MONEY,
        "currency": Kind.TEXT,
        "condition": Kind.CHOICE,
        "formats": Kind.WORDS,
        "auction_end": Kind.TIME,
        "quantity": Kind.WHOLE,
        "country": Kind.TEXT,
        "location": Kind.OBJECT,
        "location.lat": Kind.REAL,
        "location.lon": Kind.REAL,
        "location.postcode": Kind.TEXT,
        "location.accuracy_m": Kind.REAL,
        "created_at": Kind.TIME,
        "updated_at": Kind.TIME,
        "ended_at": Kind.TIME,
        "status": Kind.CHOICE,
        "campaign": Kind.CHOICE,
        "ad_rate_bp": Kind.WHOLE,
        "flat_fee_minor": Kind.MONEY,
        "target_views": Kind.WHOLE,
    },
    key="item_id",
    longest={
        "title": 200, "description": 8192, "brand": 128, "colour": 128, _ATTRIBUTE: 256,
        "category": 128, "materials": 128,
    },
    most={"category": MAX_LEVELS, "materials": 16, "images": 24},
)  # fmt: skip

EVENT_FIELDS = Fields(
    kinds={
        "event_id": Kind.ID,
        "occurred_at": Kind.TIME,
        "action": Kind.CHOICE,
        "entity_id": Kind.ID,
        "entity_kind": Kind.CHOICE,
        "user_id": Kind.ID,
        "device_id": Kind.ID,
        "session_id": Kind.ID,
        "logged_in": Kind.FLAG,
        "role": Kind.CHOICE,
        "platform": Kind.CHOICE,
        "text": Kind.TEXT,
        "surface": Kind.TEXT,
        "decision_id": Kind.ID,
        "position": Kind.WHOLE,
        "traceparent": Kind.TEXT,
        "country": Kind.TEXT,
        "postcode": Kind.TEXT,
        "value_minor": Kind.MONEY,
        "dwell_ms": Kind.WHOLE,
    },
    key="entity_id",
    longest={"text": 512, "surface": 64},
    most={},
)
