"""A listing, as the marketplace tells it (SPEC §3.2)."""

from __future__ import annotations

from enum import Enum, IntFlag
from typing import Annotated

from msgspec import Meta

from kindred.schemas.base import (
    Country,
    Currency,
    Id,
    Latitude,
    Longitude,
    Micros,
    Minor,
    Record,
    check_id,
)

MAX_LEVELS = 6
"""Levels of a category path that filters and features read."""


class Format(Enum):
    """How a listing can be bought; a listing may offer several (SPEC B7)."""

    BUY_NOW = "buy_now"
    BEST_OFFER = "best_offer"
    AUCTION = "auction"


class FormatBits(IntFlag):
    """Formats as columns and payloads keep them."""

    BUY_NOW = 1
    BEST_OFFER = 2
    AUCTION = 4


class Condition(Enum):
    """State of the goods."""

    NEW = "new"
    REFURBISHED = "refurbished"
    USED = "used"
    PARTS = "parts"


class Status(Enum):
    """Whether a listing may be shown: only active ones are."""

    ACTIVE = "active"
    RESERVED = "reserved"
    SOLD = "sold"
    ENDED = "ended"


class Campaign(Enum):
    """How a listing is promoted: not, pay-per-sale (PLS) or auction (PLX)."""

    NONE = "none"
    PLS = "pls"
    PLX = "plx"


class Location(Record, frozen=True, kw_only=True):
    """Where the goods are. A place needs both coordinates, or a postcode alone."""

    lat: Latitude | None = None
    lon: Longitude | None = None
    postcode: Annotated[str, Meta(max_length=16)] | None = None
    accuracy_m: Annotated[float, Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("`lat` and `lon` go together")


Text = Annotated[str, Meta(max_length=200)]
Word = Annotated[str, Meta(min_length=1, max_length=128)]


class Item(Record, frozen=True, kw_only=True):
    """A listing. Only `item_id` is required; what is absent is unknown, not zero."""

    item_id: Id
    title: Text = ""
    description: Annotated[str, Meta(max_length=8192)] = ""
    seller_id: Id | None = None
    brand: Word | None = None
    category: Annotated[tuple[Word, ...], Meta(max_length=MAX_LEVELS)] = ()
    """Path from root to leaf."""
    attributes: dict[Word, Annotated[str, Meta(max_length=256)] | float] = {}
    colour: Word | None = None
    materials: Annotated[tuple[Word, ...], Meta(max_length=16)] = ()
    images: Annotated[tuple[Annotated[str, Meta(max_length=2048)], ...], Meta(max_length=24)] = ()
    """File paths or http(s) URLs; the first is the main picture."""
    price_minor: Minor | None = None
    shipping_minor: Minor | None = None
    currency: Currency | None = None
    condition: Condition | None = None
    formats: tuple[Format, ...] = (Format.BUY_NOW,)
    auction_end: Micros | None = None
    quantity: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    country: Country | None = None
    location: Location | None = None
    created_at: Micros | None = None
    """When it was listed; the catalogue's clock where the feed does not say."""
    updated_at: Micros | None = None
    ended_at: Micros | None = None
    status: Status = Status.ACTIVE
    campaign: Campaign = Campaign.NONE
    ad_rate_bp: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Share of the price paid on a sale, in basis points (PLS)."""
    flat_fee_minor: Minor | None = None
    target_views: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    """Views that an auction campaign (PLX) has bought."""

    def __post_init__(self) -> None:
        check_id(self.item_id, "item_id")
        if self.seller_id is not None:
            check_id(self.seller_id, "seller_id")
        if not self.formats:
            raise ValueError("`formats` must name at least one format")
        if self.price_minor is not None and self.currency is None:
            raise ValueError("`price_minor` needs a `currency`")
        if Format.AUCTION not in self.formats and self.auction_end is not None:
            raise ValueError("`auction_end` is for listings with the auction format")

    @property
    def format_bits(self) -> FormatBits:
        """The formats as a bit set."""
        bits = FormatBits(0)
        for f in self.formats:
            bits |= FormatBits[f.name]
        return bits
