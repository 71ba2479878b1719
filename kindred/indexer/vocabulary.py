"""Strings as small integers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.schemas.errors import ArtefactError


class Vocabulary:
    """Codes 0, 1, 2, ... in order of first appearance; a code is never given twice."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = list(names)
        self._codes = {name: code for code, name in enumerate(self._names)}

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """Every string, by code."""
        return tuple(self._names)

    def code(self, name: str) -> int:
        """The code of `name`, which is added when new."""
        code = self._codes.get(name)
        if code is None:
            # The name first: a reader in another thread may meet the code as soon as it exists.
            self._names.append(name)
            code = self._codes[name] = len(self._names) - 1
        return code

    def codes(self, names: Iterable[str | None]) -> NDArray[np.int32]:
        """int32[n]: `code` of each, -1 for None."""
        known, add = self._codes, self.code
        return np.fromiter(
            (
                -1 if name is None else (known[name] if name in known else add(name))
                for name in names
            ),
            np.int32,
        )

    def find(self, name: str) -> int:
        """The code of `name`, or -1."""
        return self._codes.get(name, -1)

    def name(self, code: int) -> str:
        """The string behind `code`; IndexError for one that was never given."""
        if code < 0:
            raise IndexError(f"code {code} stands for no name")
        return self._names[code]

    def save(self, path: Path) -> None:
        """Write a JSON list of the names."""
        path.write_bytes(msgspec.json.encode(self._names))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote; ArtefactError when it is missing or damaged."""
        try:
            return cls(msgspec.json.decode(path.read_bytes(), type=list[str]))
        except (OSError, msgspec.MsgspecError) as e:
            raise ArtefactError(f"vocabulary {path} cannot be read: {e}") from e
