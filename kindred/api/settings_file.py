"""`kindred.toml`: read with the environment on top, and written with every field explained.

The environment wins over the file, the file over the defaults: `KINDRED__API__PORT=9000` sets
`api.port`. Lists and tables in the environment are JSON. Tables are merged into their defaults
field by field, so one source's quota can be set without repeating the others.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kindred.schemas.errors import SettingsError
from kindred.schemas.settings import KindredSettings, formula_told

PREFIX = "KINDRED__"
"""What the environment's names begin with; levels are parted by two underscores."""


def load_settings(path: Path | None, environ: Mapping[str, str]) -> KindredSettings:
    """Defaults, then the file (if it exists), then the environment.

    The folder `pictures` beside the file is one of the encoders' roots where it is there: only an
    import writes it. SettingsError names the path of the field at fault and whether file or
    environment set it.
    """
    return _with_pictures(_told(path, environ), path)


def _with_pictures(settings: KindredSettings, path: Path | None) -> KindredSettings:
    pictures = None if path is None else path.parent / "pictures"
    if pictures is None or not pictures.is_dir():
        return settings
    image = settings.encoders.image
    image = msgspec.structs.replace(image, roots=(*image.roots, str(pictures.resolve())))
    encoders = msgspec.structs.replace(settings.encoders, image=image)
    return msgspec.structs.replace(settings, encoders=encoders)


def _told(path: Path | None, environ: Mapping[str, str]) -> KindredSettings:
    defaults = msgspec.to_builtins(KindredSettings())
    told = _read(path) if path is not None and path.is_file() else {}
    merged = merge(defaults, _with_formula(told))
    _convert(merged, strict=True, where=str(path))
    ours = environment(environ)
    if not ours:
        return _convert(merged, strict=True, where=str(path))
    return _convert(
        merge(merged, _with_formula(ours)), strict=False, where="the environment (KINDRED__…)"
    )


def _with_formula(told: dict[str, Any]) -> dict[str, Any]:
    """`told` with the blend's formula where its strength alone is told.

    Files from before there were two have `b`.
    """
    blend = told.get("blend")
    formula = formula_told(blend) if isinstance(blend, Mapping) else None
    return told if formula is None else merge(told, {"blend": {"formula": formula}})


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _convert(values: dict[str, Any], *, strict: bool, where: str) -> KindredSettings:
    try:
        return msgspec.convert(values, KindredSettings, strict=strict)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        raise SettingsError(f"{where}: {reason}", path.rstrip("`") or "$") from error


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` on top of `below`; tables are merged, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the environment holds, nested; values stay text unless they are JSON."""
    found: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        *tables, field = name.removeprefix(PREFIX).lower().split("__")
        place = found
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise SettingsError(f"`{name}` goes below a value", f"$.{table}")
        place[field] = _value(name, text)
    return found


def _value(name: str, text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"`{name}` is not JSON: {error}") from error
