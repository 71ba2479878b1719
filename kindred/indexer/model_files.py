"""Files of trained versions: written through to disk and hashed, checked and mapped when read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kindred.events.files import sync
from kindred.schemas.errors import ArtefactError
from kindred.schemas.model import FileFacts


class _Hashed:
    """A file that hashes what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self._size = file, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        self._hash.update(data)
        self._size += len(memoryview(data).cast("B"))
        return self._file.write(data)

    @property
    def facts(self) -> FileFacts:
        return FileFacts(size=self._size, sha256=self._hash.hexdigest())


def write_hashed(path: Path, value: NDArray[Any] | str) -> FileFacts:
    """Write an array as npy or a text, through to the disk. A pickle is a ValueError."""
    with path.open("wb") as file:
        hashed = _Hashed(file)
        if isinstance(value, str):
            hashed.write(value.encode())
        else:
            np.lib.format.write_array(hashed, np.asarray(value, order="C"), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return hashed.facts


def replace_lines(path: Path, lines: list[str]) -> None:
    """Put lines into a file in one step: a reader sees the old ones or the new ones."""
    aside = path.with_name(f".{path.name}")
    write_hashed(aside, "".join(f"{line}\n" for line in lines))
    aside.replace(path)
    sync(path.parent)


def read_lines(path: Path) -> list[str]:
    """The lines of a file, none where it is absent."""
    try:
        return path.read_text().split()
    except FileNotFoundError:
        return []


def check_file(path: Path, facts: FileFacts, verify: bool) -> None:
    """ArtefactError where a file is not the one of `facts`; `verify` also hashes it."""
    if not path.is_file():
        raise ArtefactError(f"{path} is missing")
    if (size := path.stat().st_size) != facts.size:
        raise ArtefactError(f"{path} is damaged: {size} bytes, its card says {facts.size}")
    if verify:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != facts.sha256:
            raise ArtefactError(f"{path} is damaged: its SHA-256 is not the one in its card")


def mapped(path: Path) -> NDArray[Any]:
    """Plain array over a read-only mapping: memmap's own indexing costs microseconds a call."""
    if path.stat().st_size < 4096:  # an empty array cannot be mapped
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        array.flags.writeable = False
        return array
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
