"""Pictures from local folders and the web, decoded, with every limit that strangers' data needs."""

from __future__ import annotations

import io
import os
import stat
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageOps, UnidentifiedImageError

from kindred.indexer.encoders.fetch import fetch
from kindred.schemas.errors import ImageRejected
from kindred.schemas.settings import ImageEncoderSettings

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Decoders in use, where Pillow has them; every other one that it brings stays shut."""


class ImageReader:
    """Reads pictures by reference: an http(s) URL, a file URL, or a path under one of `roots`."""

    def __init__(self, settings: ImageEncoderSettings) -> None:
        self._settings = settings
        self._roots = [Path(root).resolve() for root in settings.roots]

    def read(self, reference: str, path: str = "$.images[0]", draft: int = 0) -> Image.Image:
        """The picture as RGB, upright, on white where it is transparent.

        `draft` > 0 lets JPEGs be decoded at a lower resolution, at least `draft` pixels a side.
        Raises ImageRejected with `path` and the reason.
        """
        try:
            return decode(self._bytes(reference), self._settings.max_pixels, draft)
        except ImageRejected as error:
            raise ImageRejected(f"{error.message}: {reference[:200]!r}", path) from None

    def _bytes(self, reference: str) -> bytes:
        limits = self._settings
        scheme = urlsplit(reference).scheme.lower() if "://" in reference else ""
        if scheme in ("http", "https"):
            return fetch(
                reference,
                timeout_s=limits.timeout_s,
                max_bytes=limits.max_bytes,
                allow_private_hosts=limits.allow_private_hosts,
            )
        if scheme == "file":
            return self._local(unquote(urlsplit(reference).path))
        if scheme:
            raise ImageRejected(f"scheme {scheme!r} is not one of http, https, file")
        return self._local(reference)

    def _local(self, name: str) -> bytes:
        if not self._roots:
            raise ImageRejected("local paths are refused: `encoders.image.roots` names no folder")
        if "\0" in name:
            raise ImageRejected("a path must not contain NUL")
        for root in self._roots:
            # `root / name` is `name` itself where that is absolute; links are followed first, so
            # that one inside a root cannot lead out of it.
            file = (root / name).resolve()
            if file.is_relative_to(root) and file.exists():
                return self._file(file)
        raise ImageRejected("no such file below `encoders.image.roots`")

    def _file(self, file: Path) -> bytes:
        limit = self._settings.max_bytes
        try:
            # A pipe would block for ever at open, a device at read.
            descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise ImageRejected(f"cannot be read ({error.strerror})") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ImageRejected("not a regular file")
        with os.fdopen(descriptor, "rb") as opened:
            content = opened.read(limit + 1)
        if len(content) > limit:
            raise ImageRejected(f"larger than {limit} bytes")
        return content


def decode(content: bytes, max_pixels: int, draft: int = 0) -> Image.Image:
    """Decode a picture to RGB. Raises ImageRejected; see ImageReader.read."""
    try:
        with Image.open(io.BytesIO(content), formats=_decoders()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageRejected(f"{width} x {height} pixels, more than {max_pixels}")
            if draft and image.format == "JPEG":
                image.draft("RGB", (draft, draft))
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _rgb(upright)
    except ImageRejected:
        raise
    except UnidentifiedImageError:
        raise ImageRejected("not an image of a known format") from None
    except Image.DecompressionBombError:
        raise ImageRejected(f"more than {max_pixels} pixels") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they like on damaged files
        raise ImageRejected(f"cannot be decoded ({type(error).__name__}: {error})") from None


@cache
def _decoders() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode.startswith(("I;16", "I")):
        # 16-bit grey: Pillow would clip it to white.
        image = image.point(lambda value: value / 256).convert("L")
    return image.convert("RGB")
