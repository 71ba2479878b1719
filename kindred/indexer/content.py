"""What training reads of the catalogue: facts, vectors and words, by row."""

from __future__ import annotations

from dataclasses import dataclass, field

from kindred.indexer.columns import Columns
from kindred.indexer.store.tables import VectorTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """N catalogue rows. Items that are not active have facts and words, but no vectors."""

    columns: Columns
    tables: dict[str, VectorTable]
    """Vectors by encoder space."""
    titles: list[str] = field(default_factory=list)
    """Title of each row, empty where there is none."""
    descriptions: list[str] = field(default_factory=list)
    """Start of each row's description, as much of it as a text encoder reads."""
    texts: list[str] = field(default_factory=list)
    """What a text encoder reads of each row (`item_text`)."""
    images: list[str] = field(default_factory=list)
    """Reference of each row's main picture, empty where there is none."""
    postcodes: list[str] = field(default_factory=list)
    """Postcode of each row, empty where there is none."""
    materials: list[str] = field(default_factory=list)
    """First material of each row, empty where there is none."""
    attributes: list[str] = field(default_factory=list)
    """Attributes of each row as a JSON object."""
