"""Which features the columns of logged rows are: kept for as long as the rows are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from kindred.events.files import sync
from kindred.schemas.errors import ArtefactError


def keep_feature_names(lake: Path, specification: str, names: Sequence[str]) -> None:
    """Write `features/<specification>.json` once: the names in the order of the columns."""
    path = _file(lake, specification)
    if path.exists():
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(msgspec.json.encode(list(names)))
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except OSError as error:
        raise ArtefactError(f"the names of features {path} cannot be written: {error}") from error


def feature_names(lake: Path, specification: str) -> tuple[str, ...]:
    """The names behind `feature_spec`, in the order of the columns; ArtefactError."""
    path = _file(lake, specification)
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[str, ...])
    except (OSError, msgspec.MsgspecError) as error:
        raise ArtefactError(f"the names of features {path} cannot be read: {error}") from error


def _file(lake: Path, specification: str) -> Path:
    return lake / "features" / f"{specification}.json"
