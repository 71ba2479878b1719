"""What an event is checked against and priced by: a few fields of a stored item."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kindred.events.contract import Facts
from kindred.schemas.errors import CatalogueError
from kindred.schemas.item import Campaign, Format, FormatBits

_BITS = {f: int(FormatBits[f.name]) for f in Format}


class Listing(msgspec.Struct, frozen=True):
    """The fields of an Item that say how it is sold; decoding skips the others."""

    seller_id: str | None = None
    category: tuple[str, ...] = ()
    formats: tuple[Format, ...] = (Format.BUY_NOW,)
    campaign: Campaign = Campaign.NONE
    ad_rate_bp: int = 0

    @property
    def bits(self) -> int:
        """FormatBits"""
        return sum({_BITS[f] for f in self.formats})

    def facts(self) -> Facts:
        """As the log keeps them with an event."""
        rate = self.ad_rate_bp if self.campaign is Campaign.PLS else 0
        top = self.category[0] if self.category else None
        return Facts(self.bits, self.seller_id, rate, top)


_decode = msgspec.msgpack.Decoder(Listing).decode


def listing_of(doc: bytes, row: int) -> Listing:
    """The listing in an item's stored form."""
    try:
        return _decode(doc)
    except msgspec.MsgspecError as e:
        raise CatalogueError(f"the item in row {row} cannot be read: {e}") from e


def facts_then(now: Facts | None, former: Iterable[tuple[int, int]], at: int) -> Facts | None:
    """Facts with the formats of the moment `at`.

    former: (until, formats) of the past, oldest first.
    """
    if now is None:
        return None
    for until, formats in former:
        if at < until:
            return now._replace(formats=formats)
    return now
