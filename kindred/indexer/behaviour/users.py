"""Factors of known users, found by their id: the personalised use of the factorisation (SPEC F23).

Ids are kept as eight bytes of BLAKE2b, the same in every process, and never in the clear. Only who
logged in has one: what a device or a session did without a user trains the factors, and is kept
for nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.ranking import Floats, Mask, Rows

Keys = NDArray[np.uint64]
NOBODY = 0
"""Key of who has no user id."""


def user_key(user_id: str | None) -> int:
    """The key of a user; NOBODY for None."""
    if user_id is None:
        return NOBODY
    digest = blake2b(user_id.encode(), digest_size=8, person=b"kindred.user").digest()
    return int.from_bytes(digest, "little") or 1


def user_keys(user_ids: Iterable[str | None]) -> Keys:
    """uint64[n]: keys of users."""
    return np.fromiter(map(user_key, user_ids), np.uint64)


@dataclass(frozen=True, slots=True)
class UserFactors:
    """K users of one version of the factorisation, with its items: both sides of x_u · y_i."""

    keys: Keys
    """uint64[K], ascending"""
    users: Floats
    """float32[K, d]"""
    items: Floats
    """float32[N, d]: as trained, by catalogue row"""

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> UserFactors | None:
        """From the arrays of the stage `als`; None where it kept no users."""
        if not len(arrays.get("user_keys", ())):
            return None
        return cls(arrays["user_keys"], arrays["users"], arrays["items"])

    def find(self, keys: Keys) -> Rows:
        """int64[Q]: position of each key, -1 unknown."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where((self.keys[at] == keys) & (keys != NOBODY), at, -1)

    def vectors(self, keys: Keys) -> tuple[Floats, Mask]:
        """(float32[Q, d] as trained, bool[Q]): of each user; zero where unknown."""
        at = self.find(keys)
        known = at >= 0
        found = np.where(known[:, None], self.users[np.maximum(at, 0)], 0).astype(np.float32)
        return found, known

    def scores(self, vectors: Floats, rows: Rows) -> Floats:
        """float32[n]: x · y of each pair; rows past the trained ones score 0.

        `vectors` float32[n, d], or float32[1, d] for all.
        """
        there = rows < len(self.items)
        items = self.items.take(np.where(there, rows, 0), axis=0)
        return np.where(there, np.einsum("nd,nd->n", vectors, items), 0).astype(np.float32)


def named_users(
    subjects: NDArray[np.int32], keys: Keys, factors: Floats
) -> dict[str, NDArray[Any]]:
    """Arrays `user_keys` and `users` of the subjects (codes into `keys`) that are users.

    `keys` uint64[U] is empty where the log was read without ids.
    """
    if not len(keys):
        return {"user_keys": keys, "users": factors[:0]}
    mine = keys[subjects]
    order = np.argsort(mine, kind="stable")
    order = order[mine[order] != NOBODY]
    return {"user_keys": mine[order], "users": factors[order]}
