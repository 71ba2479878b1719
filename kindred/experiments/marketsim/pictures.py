"""Pictures of listings, drawn from the truth: shape, colour, material, and something of the style.

What of the style is seen: rounded or angular, slim or chunky, small or large, patterned or plain,
glossy or matte, and a warmer background for what is vintage. Light, position, background and
clutter are by chance. Colour is the true one, also where the text names another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kindred.experiments.marketsim.shapes import outline, primitives
from kindred.experiments.marketsim.taxonomy import COLOURS, MATERIALS
from kindred.experiments.marketsim.world import World
from kindred.schemas.ranking import Floats

SIDE = 96
"""Pixels of a side of the picture."""
FINE = 2 * SIDE
"""Pixels of a side while shapes are drawn; halved for smooth edges."""
PER_FOLDER = 5000
QUALITY = 85
"""Of the JPEG."""
_PICTURE_STREAM = 77
_RGB = np.array(list(COLOURS.values()), np.float32)
_GRID = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
_VINTAGE, _ROUNDED, _CHUNKY, _GLOSSY, _COMPACT, _PATTERNED = 0, 6, 5, 7, 10, 13
"""Style dimensions that are seen (`words.STYLE_WORDS`)."""


def draw_pictures(world: World, folder: Path, rows: NDArray[np.integer] | None = None) -> int:
    """Draw listings of `rows` (all by default) as JPEG files under `folder`; returns how many.

    A share by knob gets one. `world.items` then names them by absolute path. A listing's picture
    depends on the seed and its row only.
    """
    pictured = np.random.default_rng([world.seed, _PICTURE_STREAM]).random(len(world))
    wanted = np.arange(len(world)) if rows is None else np.asarray(rows)
    wanted = wanted[pictured[wanted] < world.knobs.picture_share]
    home = folder.resolve()
    grain = Grain.make(world.seed)
    for row in wanted.tolist():
        path = home / f"{row // PER_FOLDER:04d}" / f"{world.items[row].item_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(world, row, grain).save(path, quality=QUALITY)
        world.items[row] = msgspec.structs.replace(world.items[row], images=(str(path),))
    return len(wanted)


@dataclass(frozen=True, slots=True, eq=False)
class Grain:
    """Textures: how a material's surface varies in brightness around 1."""

    tiles: dict[str, Floats]
    """float32[2·SIDE, 2·SIDE] for each material; a picture takes a part of it"""

    @classmethod
    def make(cls, seed: int) -> Grain:
        """One tile for each material."""
        rng = np.random.default_rng([seed, _PICTURE_STREAM, 1])
        y, x = np.mgrid[0:FINE, 0:FINE].astype(np.float32)
        return cls({name: _tile(name, x, y, rng) for name in MATERIALS})


def _smooth(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """float32[FINE, FINE], about -1..1: noise with rows × columns knots."""
    knots = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
    return np.asarray(knots.resize((FINE, FINE), Image.Resampling.BICUBIC), np.float32)


def _tile(name: str, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Brightness of a material over the pixels (x, y)."""
    noise = rng.uniform(-1, 1, x.shape).astype(np.float32)
    ways: dict[str, Callable[[], NDArray[np.floating]]] = {
        "wood": lambda: 0.22 * np.sin(y / 2.2 + 5 * _smooth(rng, 8, 3)) + 0.1 * _smooth(rng, 90, 4),
        "metal": lambda: 0.16 * _smooth(rng, FINE, 2) + 0.2 * np.sin(x / 30),
        "leather": lambda: 0.25 * np.abs(_smooth(rng, 45, 45)) - 0.1 + 0.05 * noise,
        "cotton": lambda: 0.1 * np.sin(x * 1.6) * np.sin(y * 1.6) + 0.05 * noise,
        "wool": lambda: 0.2 * np.sin(x / 1.5 + 2 * np.sin(y / 2)) + 0.12 * noise,
        "plastic": lambda: 0.04 * np.sin(x / 50),
        "glass": lambda: 0.25 * (np.sin((x + y) / 14) > 0.8) + 0.05 * np.sin(y / 40),
        "ceramic": lambda: 0.18 * np.sin(x / 26) * np.sin(y / 26) + 0.04 * _smooth(rng, 30, 30),
        "linen": lambda: 0.13 * (_smooth(rng, FINE, 12) + _smooth(rng, 12, FINE)),
        "velvet": lambda: 0.3 * _smooth(rng, 9, 9),
        "silk": lambda: 0.22 * np.sin((x + 2 * y) / 11 + 3 * _smooth(rng, 4, 4)),
        "rattan": lambda: (
            0.3 * np.sign(np.sin(x * 0.8) * np.sin(y * 0.8)) * np.abs(np.sin(x * 0.8))
        ),
        "jute": lambda: 0.3 * _smooth(rng, 70, 35),
        "paper": lambda: 0.03 * noise,
        "marble": lambda: 0.15 - 0.5 * np.exp(-12 * np.abs(_smooth(rng, 6, 6) + 0.2 * noise * 0.2)),
    }
    return np.asarray(1 + ways[name](), np.float32)


def picture(world: World, row: int, grain: Grain) -> Image.Image:
    """The picture of one listing: SIDE × SIDE, RGB."""
    rng = np.random.default_rng([world.seed, _PICTURE_STREAM, 2, row])
    style = np.zeros(16, np.float32)
    style[: world.style.shape[1]] = world.style[row] * np.sqrt(world.style.shape[1])
    leaf = world.categories.leaves[world.category[row]]
    paint = _painted(leaf.shape, style, rng)
    at, to = rng.integers(0, FINE - SIDE, 2)
    material = MATERIALS[world.material[row]]
    surface = grain.tiles[material][at : at + SIDE, to : to + SIDE]
    colour = _RGB[world.colour[row]] * rng.uniform(0.88, 1.1)
    body = colour * _pattern(style, surface, rng)[..., None]
    shine = np.clip(0.5 + style[_GLOSSY], 0, 2) * 28 * _spot(rng)[..., None]
    found = _background(style, rng)
    black = np.full(3, 34, np.float32)
    for number, shade in enumerate((body, body * 0.6, 0.45 * body + 106, black), start=1):
        here = (paint == number).view(np.uint8)
        quarters = here[::2, ::2] + here[1::2, ::2] + here[::2, 1::2] + here[1::2, 1::2]
        share = quarters.astype(np.float32)[..., None] * 0.25
        if material == "glass" and number == 1:
            share *= 0.75
        found += share * (shade + shine - found)
    found += 4 * rng.standard_normal((SIDE, SIDE, 1), dtype=np.float32)
    return Image.fromarray(np.clip(found, 0, 255).astype(np.uint8))


def _painted(shape: str, style: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8[FINE, FINE]: which paint (1..4) covers each pixel; 0 is the background."""
    size = np.clip(0.82 - 0.07 * style[_COMPACT], 0.6, 1) * rng.uniform(0.92, 1.05)
    wide = np.clip(1 + 0.12 * style[_CHUNKY], 0.75, 1.2)
    angle = rng.normal(0, 0.06)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    mirror = rng.choice([-1.0, 1.0])
    stretch = np.array([mirror * size * wide, size]) * FINE / 100
    centre = np.array([FINE / 2, FINE / 2]) + rng.uniform(-0.06, 0.06, 2) * FINE
    roundness = float(np.clip(0.3 + 0.25 * style[_ROUNDED], 0, 0.65))
    canvas = Image.new("L", (FINE, FINE), 0)
    pen = ImageDraw.Draw(canvas)
    for paint, form, width, points in primitives(shape):
        corners = (outline(form, points, roundness) - 50) * stretch @ turn + centre
        spots = [(x, y) for x, y in corners.tolist()]
        if form == "s":
            pen.line(
                spots, fill=paint, width=max(1, round(width * size * FINE / 100)), joint="curve"
            )
        else:
            pen.polygon(spots, fill=paint)
    return np.asarray(canvas)


def _pattern(style: Floats, surface: Floats, rng: np.random.Generator) -> Floats:
    """float32[SIDE, SIDE]: brightness of the surface, with a print if the style has one."""
    if style[_PATTERNED] < 0.8:
        return surface
    y, x = _GRID
    step = rng.uniform(0.45, 0.9)
    kind = rng.integers(3)
    if kind == 0:
        print_ = np.sin(x * step) > 0
    elif kind == 1:
        print_ = np.sin(x * step) * np.sin(y * step) > 0.45
    else:
        print_ = (np.sin(x * step) > 0) ^ (np.sin(y * step) > 0)
    return np.asarray(surface * np.where(print_, 0.75, 1.1), np.float32)


def _spot(rng: np.random.Generator) -> Floats:
    """float32[SIDE, SIDE], 0..1: a highlight, from the upper left or right."""
    y, x = _GRID
    cx, cy = rng.uniform(0.25, 0.75) * SIDE, rng.uniform(0.2, 0.45) * SIDE
    return np.asarray(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 14.0**2)), np.float32)


def _background(style: Floats, rng: np.random.Generator) -> Floats:
    """float32[SIDE, SIDE, 3]: a wall and a floor, and some things that stand about."""
    warm = float(np.clip(-style[_VINTAGE], -2, 2)) * np.array([9.0, 1.0, -9.0])
    grey = rng.uniform(150, 235)
    wall = np.clip(grey + warm + rng.normal(0, 8, 3), 90, 250)
    floor = np.clip(wall * rng.uniform(0.7, 0.95), 60, 250)
    canvas = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in wall))
    pen = ImageDraw.Draw(canvas)
    horizon = int(rng.uniform(0.55, 0.85) * SIDE)
    pen.rectangle((0, horizon, SIDE, SIDE), fill=tuple(int(v) for v in floor))
    for _ in range(int(rng.poisson(2))):
        x, y = rng.uniform(-0.1, 1.0, 2) * SIDE
        w, h = rng.uniform(0.06, 0.3, 2) * SIDE
        shade = tuple(int(v) for v in np.clip(grey - 15 + rng.normal(0, 25, 3), 40, 245))
        if rng.random() < 0.6:
            pen.rectangle((x, y, x + w, y + h), fill=shade)
        else:
            pen.ellipse((x, y, x + w, y + h), fill=shade)
    return np.asarray(canvas, np.float32).copy()
