"""Image vectors of an item's main picture."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kindred.indexer.encoders.base import KEY_BYTES, Encoded
from kindred.indexer.encoders.image_models import (
    PACKAGED,
    PACKAGED_DIM,
    ImageModel,
    load_image_model,
    model_name,
)
from kindred.indexer.encoders.images import ImageReader
from kindred.indexer.runtime import choose_precision
from kindred.schemas.errors import ImageRejected
from kindred.schemas.item import Item
from kindred.schemas.outcome import RowError
from kindred.schemas.ranking import Floats
from kindred.schemas.settings import EncoderSettings

READERS = 8
"""Threads that fetch and decode: fetching waits, and Pillow decodes outside the GIL."""


class ImageEncoder:
    """Encodes the first of an item's images; the model loads at the first encoding.

    The key is the reference, not the content: a picture that changes under the same path or URL
    keeps its old vector until its reference changes.
    """

    space = "image"
    path = "$.images[0]"
    cached = True

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings
        self._reader = ImageReader(settings.image)
        self._precision = choose_precision(settings.precision, settings.device)
        self._loading = threading.Lock()

    @cached_property
    def version(self) -> str:
        """Model, weights and precision."""
        return f"{model_name(self._settings)}/{self._precision}"

    @property
    def dim(self) -> int:
        """Width; loads the model unless it is the packaged one."""
        return PACKAGED_DIM if self._settings.image.model == PACKAGED else self._model.dim

    def key(self, item: Item) -> bytes | None:
        """Hash of the main picture's reference; None without pictures."""
        if not item.images:
            return None
        return blake2b(item.images[0].encode(), digest_size=KEY_BYTES).digest()

    def size(self, item: Item) -> int:  # noqa: ARG002
        """Every picture is scaled to one size."""
        return 1

    def encode(self, items: Sequence[Item]) -> Encoded:
        """See Encoder.encode. A picture that is refused is an error at `$.images[0]`."""
        vectors = np.zeros((len(items), self.dim), np.float32)
        ok = np.zeros(len(items), np.bool_)
        errors: list[RowError] = []
        shown = [i for i, item in enumerate(items) if item.images]
        step = self._settings.image.batch_size
        if not shown:
            return Encoded(vectors, ok, errors)
        model = self._model  # not in the threads: one of them would load it under the others
        with ThreadPoolExecutor(min(READERS, len(shown))) as pool:
            references = [items[i].images[0] for i in shown]
            for first in range(0, len(shown), step):
                batch = shown[first : first + step]
                read = list(pool.map(self._read, references[first : first + step]))
                errors += [
                    RowError(index=i, path=r.path, reason=r.message)
                    for i, r in zip(batch, read, strict=True)
                    if isinstance(r, ImageRejected)
                ]
                good = {i: r for i, r in zip(batch, read, strict=True) if isinstance(r, np.ndarray)}
                if good:
                    made = _unit(model.embed(np.stack(list(good.values()))))
                    finite = np.isfinite(made).all(axis=1)
                    places = np.asarray(list(good))
                    vectors[places[finite]] = made[finite]
                    ok[places[finite]] = True
                    errors += [
                        RowError(index=int(i), path=self.path, reason="no finite vector")
                        for i in places[~finite]
                    ]
        return Encoded(vectors, ok, errors)

    def encode_images(self, images: Sequence[Image.Image]) -> Floats:
        """float32[n, d] unit vectors of RGB pictures, such as a search's."""
        model = self._model
        return _unit(model.embed(np.stack([model.prepare(image) for image in images])))

    def _read(self, reference: str) -> NDArray[Any] | ImageRejected:
        try:
            return self._model.prepare(self._reader.read(reference, draft=2 * self._model.side))
        except ImageRejected as error:
            return error

    @property
    def _model(self) -> ImageModel:
        with self._loading:
            return self._loaded

    @cached_property
    def _loaded(self) -> ImageModel:
        return load_image_model(self._settings, self._precision)


def _unit(vectors: Floats) -> Floats:
    """Scaled to unit length; a zero vector becomes NaN, which the callers drop."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
