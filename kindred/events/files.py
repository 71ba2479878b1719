"""Files that are whole or absent, and a lock between processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` against every other process; a kill lets go of it."""
    with _held(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), fcntl.LOCK_EX):
        yield


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Hold off `changing` while the folder, if there is one, is read; others may read it too."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    with _held(descriptor, fcntl.LOCK_SH):
        yield


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Wait until nobody reads the folder (`unchanged`), and hold readers off."""
    with _held(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX):
        yield


@contextmanager
def _held(descriptor: int, how: int) -> Iterator[None]:
    """Lock an open file, and close it in the end."""
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Lock a file or folder without waiting; False where another process holds it or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
