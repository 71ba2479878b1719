"""What is known about a trained version: its card."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from kindred.schemas.base import Micros, Record


class Gate(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Whether a version may come into use, and why."""

    passed: bool
    reason: str


class FileFacts(Record, frozen=True, kw_only=True):
    """One file of a version."""

    size: Annotated[int, Meta(ge=0)]
    """Bytes."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Start(Record, frozen=True, kw_only=True):
    """What a version's training started from, in place of chance."""

    version: str
    """Of the same stage."""
    cold_key: str
    """Key of the version that the same inputs give where training starts anew."""
    anew: Micros
    """When the first of the chain was trained, which started from none."""


class Card(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A model card: what a version was made from, how, and what it is worth."""

    stage: str
    version: str = ""
    """Given when it is published."""
    key: str
    """Hash of everything the version depends on: the same key is the same model."""
    code: Annotated[int, Meta(ge=0)]
    """Revision of the stage's code."""
    inputs: dict[str, str] = {}
    """Fingerprint of each input; a stage it builds on is named with its version."""
    start: Start | None = None
    """None: trained anew."""
    settings: dict[str, Any] = {}
    seed: int = 0
    metrics: dict[str, Any] = {}
    gate: Gate
    created: Micros
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    files: dict[str, FileFacts] = {}
    """Filled when it is published."""
