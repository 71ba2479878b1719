"""Trained versions on disk: `<root>/<stage>/<version>/`, one of them current.

A version is a folder with a card, arrays (npy, memory-mapped when read) and texts. It is written
aside, flushed and renamed, and never changes afterwards. `<stage>/current` names the version in
use on its first line and those that were in use before it on the next ones; `withdrawn` lists
versions that somebody rolled back from, which nothing brings back by itself.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.events.files import locked, sync, try_lock
from kindred.indexer.model_files import check_file, mapped, read_lines, replace_lines, write_hashed
from kindred.schemas.errors import ArtefactError, NotBuilt
from kindred.schemas.model import Card

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VERSION = re.compile(r"[0-9]{6,}")
_ASIDE = ".aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """One version as loaded."""

    card: Card
    arrays: dict[str, NDArray[Any]]
    """Read-only, mapped from disk."""
    texts: dict[str, str]

    @property
    def version(self) -> str:
        """Its number within the stage."""
        return self.card.version


class ModelStore:
    """Versions by stage. Safe for several threads and processes at once.

    Raises NotBuilt where a stage has no current version, ArtefactError for what is damaged or
    cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(
        self,
        stage: str,
        card: Card,
        arrays: Mapping[str, NDArray[Any]] | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> str:
        """Write a version and return its number; it becomes current if its gate passed."""
        contents: dict[str, NDArray[Any] | str] = {}
        contents |= {f"{_checked(n)}.npy": a for n, a in (arrays or {}).items()}
        contents |= {f"{_checked(n)}.txt": t for n, t in (texts or {}).items()}
        with self._locked(stage) as folder:
            for stale in folder.glob(_ASIDE + "*"):  # a publisher that died; we hold its lock
                shutil.rmtree(stale)
            version = f"{int((self.versions(stage) or ['0'])[-1]) + 1:06d}"
            aside = folder / f"{_ASIDE}-{version}"
            aside.mkdir()
            try:
                files = {
                    name: write_hashed(aside / name, value) for name, value in contents.items()
                }
                card = msgspec.structs.replace(card, stage=stage, version=version, files=files)
                write_hashed(aside / "card.json", _readable(card))
                sync(aside)
                aside.rename(folder / version)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            sync(folder)
            if card.gate.passed:
                self._switch(folder, version)
        return version

    def load(self, stage: str, version: str | None = None, *, verify: bool = False) -> Artefact:
        """A version, or the current one. `verify` also hashes every file."""
        card = self.card(stage, version)
        folder = self.root / stage / card.version
        arrays: dict[str, NDArray[Any]] = {}
        texts: dict[str, str] = {}
        for name, facts in card.files.items():
            path = folder / name
            check_file(path, facts, verify)
            try:
                if path.suffix == ".npy":
                    arrays[path.stem] = mapped(path)
                else:
                    texts[path.stem] = path.read_bytes().decode()
            except (OSError, ValueError) as e:
                raise ArtefactError(f"{path} cannot be read: {e}") from e
        return Artefact(card=card, arrays=arrays, texts=texts)

    def card(self, stage: str, version: str | None = None) -> Card:
        """The card of a version, or of the current one."""
        if version is None and (version := self.current(stage)) is None:
            raise NotBuilt(f"stage {stage} has no version in use: run `kindred train {stage}`")
        path = self.root / _checked(stage) / version / "card.json"
        try:
            card = msgspec.json.decode(path.read_bytes(), type=Card)
        except FileNotFoundError as e:
            raise ArtefactError(f"stage {stage} has no version {version} ({path})") from e
        except (OSError, msgspec.MsgspecError) as e:
            raise ArtefactError(f"{path} cannot be read: {e}") from e
        if (card.stage, card.version) != (stage, version):
            raise ArtefactError(f"{path} is the card of {card.stage} {card.version}")
        return card

    def current(self, stage: str) -> str | None:
        """The version in use, None before the first."""
        return next(iter(self._used(self.root / _checked(stage))), None)

    def versions(self, stage: str) -> list[str]:
        """Every version, oldest first."""
        folder = self.root / _checked(stage)
        if not folder.is_dir():
            return []
        return sorted((p.name for p in folder.iterdir() if _VERSION.fullmatch(p.name)), key=int)

    def stages(self) -> list[str]:
        """Stages that have a version."""
        if not self.root.is_dir():
            return []
        names = sorted(p.name for p in self.root.iterdir() if _NAME.fullmatch(p.name))
        return [n for n in names if self.versions(n)]

    def find(self, stage: str, key: str, *, started: bool = False) -> Card | None:
        """The newest undamaged version with this key.

        With `started` also one of the same inputs whose training started from another version.
        """
        for version in reversed(self.versions(stage)):
            try:
                card = self.card(stage, version)
                cold = card.start.cold_key if started and card.start is not None else card.key
                if key in (card.key, cold):
                    return self.load(stage, version).card
            except ArtefactError:  # damaged: it has to be made again
                continue
        return None

    def withdrawn(self, stage: str) -> list[str]:
        """Versions that somebody rolled back from."""
        return read_lines(self.root / _checked(stage) / "withdrawn")

    def promote(self, stage: str, version: str) -> None:
        """Bring a version into use. ArtefactError if its gate did not pass."""
        card = self.card(stage, version)
        if not card.gate.passed:
            raise ArtefactError(f"{stage} {version} failed its gate: {card.gate.reason}")
        with self._locked(stage) as folder:
            kept = [v for v in self.withdrawn(stage) if v != version]
            if kept != self.withdrawn(stage):
                replace_lines(folder / "withdrawn", kept)
            self._switch(folder, version)

    def rollback(self, stage: str) -> str:
        """Back to the version that was in use before; the one left is withdrawn."""
        with self._locked(stage) as folder:
            used = self._used(folder)
            withdrawn = self.withdrawn(stage)
            before = [v for v in used[1:] if v not in withdrawn and (folder / v).is_dir()]
            if not before:
                raise ArtefactError(f"stage {stage} has no earlier version to go back to")
            replace_lines(folder / "withdrawn", [*withdrawn, used[0]])
            replace_lines(folder / "current", before)
        return before[0]

    def prune(self, stage: str, keep: int) -> list[str]:
        """Delete all but the newest `keep` versions, the current one and the one before it.

        Also kept is what a version of another stage was made with: that one serves with nothing
        else. So stages are pruned from the last to the first.
        """
        with self._locked(stage) as folder:
            newest = self.versions(stage)[-max(keep, 1) :]
            safe = {*newest, *self._used(folder)[:2], *self._built_on(stage)}
            gone = [v for v in self.versions(stage) if v not in safe]
            for version in gone:
                shutil.rmtree(folder / version)
        return gone

    def _built_on(self, stage: str) -> set[str]:
        """Versions of a stage that a card of another stage names."""
        found = set()
        for other in self.stages():
            for version in self.versions(other):
                try:
                    found.add(self.card(other, version).inputs.get(stage, ""))
                except ArtefactError:  # damaged: it serves no more, whatever it was made with
                    continue
        return found

    @contextmanager
    def training(self, stage: str) -> Iterator[None]:
        """Held by whoever trains a stage, so that nobody else trains the same meanwhile."""
        folder = self.root / _checked(stage)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ArtefactError(f"{folder} cannot be written: {e}") from e
        with locked(folder / ".training"):
            yield

    def being_trained(self) -> bool:
        """Whether some stage is being trained at this moment, in any process."""
        return any(_held(lock) for lock in self.root.glob("*/.training"))

    @contextmanager
    def _locked(self, stage: str) -> Iterator[Path]:
        """One writer of a stage at a time, across processes."""
        folder = self.root / _checked(stage)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock"):
                yield folder
        except OSError as e:
            raise ArtefactError(f"{folder} cannot be written: {e}") from e

    def _used(self, folder: Path) -> list[str]:
        return [v for v in read_lines(folder / "current") if _VERSION.fullmatch(v)]

    def _switch(self, folder: Path, version: str) -> None:
        before = [v for v in self._used(folder) if v != version and (folder / v).is_dir()]
        replace_lines(folder / "current", [version, *before])


def _held(lock: Path) -> bool:
    with try_lock(lock) as free:
        return not free and lock.exists()


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ArtefactError(f"{name!r} is not a name of lower-case letters, digits and _")
    return name


def _readable(card: Card) -> str:
    encoded = msgspec.json.encode(card, enc_hook=_plain)
    return msgspec.json.format(encoded, indent=2).decode()


def _plain(value: Any) -> Any:
    """Numbers of numpy among the metrics."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} on a card")
