"""Index versions on disk: `index/<version>/`, one of them current.

A version is built aside, flushed and renamed, and its files never change afterwards; `current` is
a link that is replaced in one step. Processes that read a version hold a lock in its folder, and
no version that somebody reads, nor the one to go back to, is ever removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from kindred.events.files import sync
from kindred.schemas.base import Record
from kindred.schemas.errors import ArtefactError, NotBuilt

FORMAT = 1
"""Of the files of a version; another number means: build again."""
CURRENT, MANIFEST = "current", "manifest.json"
COLUMNS, VECTORS, SHARD, REJECTS = "columns", "vectors", "shard", "rejects.jsonl"
_BUILDING, _REMOVING = ".building-", ".removing-"
VERSION = re.compile(r"\d{8}T\d{6}-\d{6}")
"""A version's name: when it was begun, UTC."""


class Space(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One vector space of an index version."""

    dim: int
    version: str
    """Of the encoder or the model that made the vectors."""
    count: int
    """Rows that have a vector."""


class Manifest(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What an index version holds."""

    version: str
    created: int
    """Microseconds UTC."""
    sequence: int
    """Every catalogue change up to this one is in; later ones are to be applied."""
    items: int
    active: int
    spaces: dict[str, Space]
    models: dict[str, str]
    """Stage -> version of the models it was built with."""
    store: str = "embedded"
    """Kind of store that holds the vectors."""
    collection: str | None = None
    """The server's collection."""
    rejected: dict[str, int] = {}
    """Space -> items whose input could not be encoded; `rejects.jsonl` says which and why."""
    seconds: dict[str, float] = {}
    """What each part of the build took."""
    format: int = FORMAT


class IndexFolder:
    """The versions below `root`. Safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def current(self) -> str | None:
        """The version in use."""
        try:
            return str((self.root / CURRENT).readlink())
        except OSError:
            return None

    def versions(self) -> list[str]:
        """Complete versions, oldest first."""
        with suppress(FileNotFoundError):
            found = (p.name for p in self.root.iterdir() if VERSION.fullmatch(p.name))
            return sorted(name for name in found if (self.root / name / MANIFEST).is_file())
        return []

    def manifest(self, version: str | None = None) -> Manifest:
        """Of a version, or of the current one. NotBuilt, or ArtefactError where it is damaged."""
        wanted = version or self.current()
        if wanted is None:
            raise NotBuilt("no index has been built yet: run `kindred index`")
        path = self.root / wanted / MANIFEST
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            raise ArtefactError(
                f"{path} cannot be read ({error}): run `kindred index` to build anew"
            ) from error
        if manifest.format != FORMAT:
            raise ArtefactError(f"index {wanted} is of another format: run `kindred index`")
        return manifest

    def rollback(self) -> Manifest:
        """Make the version before the current one current. NotBuilt where there is none."""
        with self.building():
            current = self.current()
            older = [v for v in self.versions() if current is not None and v < current]
            if not older:
                raise NotBuilt(f"there is no version before {current or 'the first'} to go back to")
            manifest = self.manifest(older[-1])
            self.switch(older[-1])
            return manifest

    def switch(self, version: str) -> None:
        """Let `current` name `version`, in one step."""
        aside = self.root / f".{CURRENT}.{os.getpid()}"
        aside.unlink(missing_ok=True)
        aside.symlink_to(version)
        aside.replace(self.root / CURRENT)
        sync(self.root)

    def aside(self, now: int) -> tuple[str, Path]:
        """(version, empty folder to build it in); the version's name is its time, in UTC."""
        while True:
            moment = datetime.fromtimestamp(now / 1e6, UTC)
            version = moment.strftime("%Y%m%dT%H%M%S-%f")
            newest = max(self.versions(), default="")
            if version > newest:  # also where the clock was set back
                break
            now = max(now, _micros(newest)) + 1
        folder = self.root / f"{_BUILDING}{version}"
        folder.mkdir(parents=True)
        return version, folder

    def publish(self, aside: Path, manifest: Manifest) -> None:
        """Flush what was built aside, give it its name, and make it current."""
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        (aside / MANIFEST).write_bytes(content)
        sync_tree(aside)
        aside.rename(self.root / manifest.version)
        sync(self.root)
        self.switch(manifest.version)

    def sweep(self) -> None:
        """Remove what broken builds left behind; call it while holding `building`."""
        for leftover in (*self.root.glob(f"{_BUILDING}*"), *self.root.glob(f"{_REMOVING}*")):
            shutil.rmtree(leftover, ignore_errors=True)

    def remove(self, version: str) -> bool:
        """Remove a version; False where it is in use."""
        folder = self.root / version
        if version == self.current() or any(held(lock) for lock in folder.glob("*.lock")):
            return False
        aside = self.root / f"{_REMOVING}{version}"
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def being_built(self) -> bool:
        """Whether a process is building at this moment."""
        return held(self.root / ".building.lock")

    @contextmanager
    def building(self) -> Iterator[None]:
        """Hold this while building: there is one builder at a time. ArtefactError if not."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".building.lock").open("a") as file:
            if not _locked(file):
                raise ArtefactError(
                    f"another process is building an index in {self.root}: wait for it to end"
                )
            yield


def _locked(file: IO[str]) -> bool:
    """Lock it; who only looks whether somebody builds (`held`) holds it for microseconds."""
    for patience_s in (0.0, 0.01, 0.05):
        time.sleep(patience_s)
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def held(lock: Path) -> bool:
    """Whether a process holds this lock file; a lock dies with its process."""
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def _micros(version: str) -> int:
    moment = datetime.strptime(version, "%Y%m%dT%H%M%S-%f").replace(tzinfo=UTC)
    return round(moment.timestamp() * 1e6)
