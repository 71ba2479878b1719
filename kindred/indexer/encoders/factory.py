"""Encoders by settings."""

from __future__ import annotations

from kindred.indexer.encoders.base import Encoder
from kindred.schemas.settings import EncoderSettings


def make_encoders(settings: EncoderSettings) -> dict[str, Encoder]:
    """Space -> encoder, in the order of `settings.spaces`. Loads no model."""
    return {space: _make(space, settings) for space in settings.spaces}


def _make(space: str, settings: EncoderSettings) -> Encoder:
    if space == "text":
        from kindred.indexer.encoders.text import TextEncoder

        return TextEncoder(settings)
    if space == "image":
        from kindred.indexer.encoders.image import ImageEncoder

        return ImageEncoder(settings)
    from kindred.indexer.encoders.attributes import AttributesEncoder

    return AttributesEncoder(settings.attributes)
