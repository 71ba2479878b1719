"""What an event is checked against and priced by: a few fields of a stored item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from kindred.events.contract import Facts
from kindred.events.database import Readers, translated
from kindred.indexer.catalogue_tables import AMONG, among
from kindred.schemas.errors import CatalogueError
from kindred.schemas.item import Campaign, Format, FormatBits

_EVER = (
    "SELECT item_id, row, doc, until, former_formats.formats FROM items "
    f"LEFT JOIN former_formats USING (row) WHERE item_id {AMONG} ORDER BY until"
)
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


class Listings:
    """What the catalogue at `path` says of items, now and formerly; it only reads.

    Each thread has a connection of its own: none waits for another, nor for a writer. Where there
    is no catalogue, no item is known.
    """

    def __init__(self, path: Path) -> None:
        self._readers = Readers(path)

    def facts_at(self, item_ids: Sequence[str], times: Sequence[int]) -> list[Facts | None]:
        """What is known of each item at its time (microseconds UTC), None for unknown ones.

        The formats are those of the time, as far as upserts told of a change; the rest is of now.
        CatalogueError.
        """
        known, former = self.facts_ever(item_ids)
        return [
            facts_then(known.get(item_id), former.get(item_id, ()), at)
            for item_id, at in zip(item_ids, times, strict=True)
        ]

    def facts_ever(
        self, item_ids: Sequence[str]
    ) -> tuple[dict[str, Facts], dict[str, list[tuple[int, int]]]]:
        """(facts of now by id, by id of some: (until, formats) of the past, oldest first)."""
        known: dict[str, Facts] = {}
        former: dict[str, list[tuple[int, int]]] = {}
        with translated("catalogue", CatalogueError):
            db = self._readers.connection()
            found = [] if db is None else db.execute(_EVER, (among(item_ids),)).fetchall()
        for item_id, row, doc, until, formats in found:
            if item_id not in known:
                known[item_id] = listing_of(doc, row).facts()
            if until is not None:
                former.setdefault(item_id, []).append((until, formats))
        return known, former

    def close(self) -> None:
        """Release the file; no thread may be reading."""
        self._readers.close()
