"""Encode what the cache does not hold, once each, in batches of like size; resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import Cached, EncodingCache
from kindred.schemas.clock import DAY, micros_now
from kindred.schemas.item import Item
from kindred.schemas.outcome import RowError
from kindred.schemas.ranking import Floats, Mask, Rows

BLOCK = 512
"""Distinct inputs encoded between two commits of the cache: what a kill can cost."""
RETRY_AFTER = DAY
"""A refused input is tried again after this long (µs): the host may have been down."""


@dataclass(frozen=True, slots=True)
class Encodings:
    """n items in one space."""

    vectors: Floats
    """float32[n, d]; zero where not `present`"""
    present: Mask
    """bool[n]"""
    partial: Mask
    """bool[n]: made without something that was refused; tried again like a reject"""
    rejects: list[RowError]
    """Items whose input cannot be encoded; `index` is the item's position."""
    encoded: int
    """Distinct inputs that the model ran on; the rest came from the cache."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """Keys of n items, and the distinct ones among them."""

    keys: list[bytes]
    """u distinct keys"""
    inverse: Rows
    """int64[n]: the distinct key of each item, -1 where it has none"""
    first: Rows
    """int64[u]: an item that has the key"""


def keys_of(items: Sequence[Item], encoder: Encoder) -> Keyed:
    """The encoder's keys of `items`; loads no model."""
    numbers: dict[bytes, int] = {}
    first: list[int] = []
    inverse = np.full(len(items), -1, np.int64)
    for place, item in enumerate(items):
        key = encoder.key(item)
        if key is not None:
            number = numbers.setdefault(key, len(numbers))
            if number == len(first):
                first.append(place)
            inverse[place] = number
    return Keyed(list(numbers), inverse, np.asarray(first, np.int64))


def encode_missing(
    items: Sequence[Item],
    encoder: Encoder,
    cache: EncodingCache,
    advance: Callable[[int], None] = lambda items: None,  # noqa: ARG005
    clock: Callable[[], int] = micros_now,
) -> Encodings:
    """Vectors of `items`, from the cache where it has them; new ones are put there.

    `advance` is told how many items are done, n in all. Inputs that were refused less than a day
    ago are not tried again, and neither are vectors that lack one. Interrupted, at most `BLOCK`
    encodings are lost.
    """
    if not encoder.cached:
        made = encoder.encode(items)
        advance(len(items))
        whole = np.zeros(len(items), np.bool_)
        return Encodings(made.vectors, made.ok, whole, made.errors, len(items))
    keyed, now = keys_of(items, encoder), clock()
    owners = np.bincount(keyed.inverse[keyed.inverse >= 0], minlength=len(keyed.keys))
    known = cache.get(encoder.space, encoder.version, keyed.keys, encoder.dim, now - RETRY_AFTER)
    missing = np.flatnonzero(known.missing)
    advance(len(items) - int(owners[missing].sum()))
    sizes = np.array([encoder.size(items[keyed.first[u]]) for u in missing], np.int64)
    missing = missing[np.argsort(-sizes, kind="stable")]
    reasons = dict(known.reasons)
    for start in range(0, len(missing), BLOCK):
        block = missing[start : start + BLOCK]
        made = encoder.encode([items[keyed.first[u]] for u in block])
        known.vectors[block], known.present[block] = made.vectors, made.ok
        why = {int(block[e.index]): e.reason for e in made.errors}
        # Without vector and reason a key would be tried again with every call.
        refused = {int(u): why.get(int(u), "nothing to encode") for u in block[~made.ok]}
        reasons.update(refused)
        done = block[made.ok]
        lacking = {n: why[int(u)] for n, u in enumerate(done) if int(u) in why}
        known.partial[done[list(lacking)]] = True
        keys = [keyed.keys[u] for u in done]
        cache.put(encoder.space, encoder.version, keys, made.vectors[made.ok], now, lacking)
        lost = [keyed.keys[u] for u in refused]
        cache.put_rejects(encoder.space, encoder.version, lost, list(refused.values()), now)
        advance(int(owners[block].sum()))
    return _spread(keyed, known, reasons, encoder.path, len(missing))


def _spread(
    keyed: Keyed, known: Cached, reasons: dict[int, str], path: str, encoded: int
) -> Encodings:
    """From distinct inputs back to items."""
    owner = keyed.inverse
    n = len(owner)
    has = owner >= 0
    out = np.zeros((n, known.vectors.shape[1]), np.float32)
    out[has] = known.vectors[owner[has]]
    there, partial = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    there[has], partial[has] = known.present[owner[has]], known.partial[owner[has]]
    rejects = [
        RowError(index=int(i), path=path, reason=reasons.get(int(owner[i]), "refused"))
        for i in np.flatnonzero(has & ~there)
    ]
    return Encodings(out, there, partial, rejects, encoded)
