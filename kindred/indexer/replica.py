"""A process's own copy of a version's shard, and the lock that says that the version is read.

The engine lets one process write to a shard, and serving processes write: each opens a real copy
(QDRANT.md, fact 2). A copy whose process is gone, whichever way, is removed by the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from itertools import count as counting
from pathlib import Path
from typing import IO

from kindred.indexer.versions import SHARD
from kindred.schemas.errors import ArtefactError

_numbers = counting()
_COPY_AT_ONCE = 1 << 30


class Replica:
    """A claim on an index version, with a copy of its shard where one is wanted."""

    def __init__(self, folder: Path, lock: Path, file: IO[str]) -> None:
        self.folder = folder
        """The copied shard."""
        self._lock = lock
        self._file = file

    @classmethod
    def claim(cls, version: Path, name: str, *, copy: bool) -> Replica:
        """Claim the version in the folder `version` for this process.

        Raises ArtefactError where the version is gone or cannot be copied.
        """
        stem = f"replica-{name}-{os.getpid()}-{next(_numbers)}"
        lock, folder = version / f"{stem}.lock", version / stem
        try:
            file = _locked(lock)
            sweep_replicas(version)
            # Of a process that had this very name and number: containers count from 1 each time.
            shutil.rmtree(folder, ignore_errors=True)
            if copy:
                copy_tree(version / SHARD, folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
            raise ArtefactError(f"index {version} cannot be copied: {error}") from error
        return cls(folder, lock, file)

    def close(self) -> None:
        """Remove the copy, then the claim. Twice is as good as once."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.unlink(missing_ok=True)
        self._file.close()


def _locked(lock: Path) -> IO[str]:
    """The lock file, made and held."""
    while True:
        file = lock.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if os.fstat(file.fileno()).st_ino == lock.stat().st_ino:
                return file
        except FileNotFoundError:
            pass
        file.close()  # a sweeper removed the file while we waited for it


def sweep_replicas(version: Path) -> None:
    """Remove the copies of processes that are gone."""
    for lock in version.glob("replica-*.lock"):
        try:
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        except (BlockingIOError, FileNotFoundError):
            continue


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder, holes as holes: the engine's files are mostly room to grow.

    Shares blocks where the file system can (reflinks). Raises OSError.
    """
    target.mkdir()
    for path in sorted(source.rglob("*")):
        copied = target / path.relative_to(source)
        if path.is_dir():
            copied.mkdir()
        else:
            _copy_file(path, copied)


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        inn, out = reader.fileno(), writer.fileno()
        size = os.fstat(inn).st_size
        os.ftruncate(out, size)
        start = 0
        while start < size:
            try:
                start = os.lseek(inn, start, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                return
            end = os.lseek(inn, start, os.SEEK_HOLE)
            while start < end:
                start += _copy_part(inn, out, start, min(end - start, _COPY_AT_ONCE))


def _copy_part(inn: int, out: int, start: int, count: int) -> int:
    try:
        return os.copy_file_range(inn, out, count, start, start)
    except OSError:  # not every file system can
        return os.pwrite(out, os.pread(inn, min(count, 1 << 20), start), start)
