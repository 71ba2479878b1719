"""Where everything lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder that holds one marketplace (DESIGN "On disk")."""

    root: Path

    @property
    def settings(self) -> Path:
        """kindred.toml"""
        return self.root / "kindred.toml"

    @property
    def catalogue(self) -> Path:
        """Items of record."""
        return self.root / "catalogue.sqlite"

    @property
    def rules(self) -> Path:
        """Merchandisers' rules, with their history."""
        return self.root / "rules.sqlite"

    @property
    def encodings(self) -> Path:
        """Vectors of encoders by hash of their input: a cache."""
        return self.root / "encodings.sqlite"

    @property
    def pictures(self) -> Path:
        """Pictures that an import unpacked; `encoders.image.roots` holds it where it is there."""
        return self.root / "pictures"

    @property
    def log(self) -> Path:
        """Events of the open hours."""
        return self.root / "log.sqlite"

    @property
    def decisions(self) -> Path:
        """Decisions of the open hours, with their features."""
        return self.root / "decisions.sqlite"

    @property
    def lake(self) -> Path:
        """Events, decisions and their join in Parquet."""
        return self.root / "lake"

    @property
    def models(self) -> Path:
        """Trained stages by version."""
        return self.root / "models"

    @property
    def studies(self) -> Path:
        """Journals of trials that a training may carry on."""
        return self.root / "studies"

    @property
    def index(self) -> Path:
        """Built indexes by version."""
        return self.root / "index"

    @property
    def rejects(self) -> Path:
        """Rows that an import refused, with reason and path."""
        return self.root / "rejects"

    @property
    def relations(self) -> Path:
        """Which items people judged to go together, for evaluations: item_id, relation, other."""
        return self.root / "evaluations" / "relations.parquet"
