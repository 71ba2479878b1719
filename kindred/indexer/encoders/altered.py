"""Altered copies of pictures through the frozen backbone (SPEC E10): what a seller's camera does.

Turned by up to 15°, moved by up to a tenth, zoomed by up to a tenth, with contrast up to a fifth
more or less. The backbone is frozen, so each copy is encoded once, and training reads vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import cos, radians, sin

import numpy as np
from PIL import Image, ImageEnhance

from kindred.indexer.encoders.image import READERS, ImageEncoder
from kindred.indexer.encoders.images import ImageReader
from kindred.schemas.errors import ImageRejected
from kindred.schemas.progress import Progress, SilentProgress
from kindred.schemas.ranking import Doubles, Floats, Mask
from kindred.schemas.settings import EncoderSettings

TURN, MOVE, ZOOM, CONTRAST = 15.0, 0.1, 0.1, 0.2
"""Degrees; shares of the side; share of the size; share of the contrast: each up or down."""
DRAFT = 520
"""Pixels a side that a large JPEG is at least decoded at."""


def altered(image: Image.Image, draws: Doubles) -> Image.Image:
    """A copy of an RGB picture, of its size, on white.

    `draws` float64[5] in [-1, 1]: how far it is turned, moved right, moved down, zoomed, and how
    its contrast changes.
    """
    turn, right, down, zoom, contrast = draws.tolist()
    width, height = image.size
    angle, scale = radians(TURN * turn), 1 / (1 + ZOOM * zoom)
    a, b = cos(angle) * scale, sin(angle) * scale
    x, y = width / 2, height / 2
    to_x, to_y = x + MOVE * right * width, y + MOVE * down * height
    # Pillow asks where each pixel of the copy comes from: the inverse of what is done.
    inverse = (a, b, x - a * to_x - b * to_y, -b, a, y + b * to_x - a * to_y)
    moved = image.transform(
        image.size, Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC,
        fillcolor=(255, 255, 255),
    )  # fmt: skip
    return ImageEnhance.Contrast(moved).enhance(1 + CONTRAST * contrast)


def altered_vectors(
    references: Sequence[str],
    settings: EncoderSettings,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Floats, Mask]:
    """(float32[n, d] unit, bool[n]): one copy of the picture behind each of n references.

    A picture that cannot be read any more has none.
    """
    encoder, reader = ImageEncoder(settings), ImageReader(settings.image)
    n, step = len(references), settings.image.batch_size
    draws = np.random.default_rng(seed).uniform(-1, 1, (n, 5))
    vectors = np.zeros((n, encoder.dim), np.float32)
    present = np.zeros(n, np.bool_)

    def copy_of(place: int) -> Image.Image | None:
        try:
            image = reader.read(references[place], draft=DRAFT)
        except ImageRejected:
            return None
        return altered(image, draws[place])

    with (
        (progress or SilentProgress()).task("altered pictures", n) as advance,
        ThreadPoolExecutor(READERS) as pool,
    ):
        for low in range(0, n, step):
            places = range(low, min(low + step, n))
            read = zip(places, pool.map(copy_of, places), strict=True)
            there = [(place, image) for place, image in read if image is not None]
            if there:
                made = encoder.encode_images([image for _, image in there])
                at = np.array([place for place, _ in there])
                finite = np.isfinite(made).all(axis=1)
                vectors[at[finite]] = made[finite]
                present[at[finite]] = True
            advance(len(places))
    return vectors, present
