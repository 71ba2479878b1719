"""What each kind of thing looks like: a few rectangles, ellipses, polygons and strokes.

One primitive is a letter for what it is painted with (m main colour, d a darker shade of it, l a
lighter one, k black), a letter for its form (r rectangle, e ellipse, p polygon, s stroke with its
width first), and coordinates x y x y …, 0..100 from the top left. Later ones cover earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from kindred.schemas.ranking import Doubles

SHAPES: Mapping[str, str] = {
    "armchair": (
        "mr 25 20 75 70; dr 15 42 30 78; dr 70 42 85 78; lr 30 55 70 68; kr 22 78 28 88; kr 72 "
        "78 78 88"
    ),
    "sofa": (
        "mr 10 32 90 66; dr 5 44 17 74; dr 83 44 95 74; lr 18 54 49 67; lr 51 54 82 67; kr 12 "
        "74 16 82; kr 84 74 88 82"
    ),
    "chair": (
        "mr 34 12 66 40; ms4 36 40 36 52; ms4 64 40 64 52; dr 30 52 70 60; ds4 33 60 30 92; ds4"
        " 67 60 70 92"
    ),
    "table": "mr 8 38 92 46; dr 14 46 20 86; dr 80 46 86 86",
    "lowtable": "mr 10 52 90 59; ds4 20 59 14 80; ds4 80 59 86 80; ds3 22 70 78 70",
    "shelf": (
        "mr 24 8 76 92; lr 29 13 71 28; lr 29 33 71 48; lr 29 53 71 68; lr 29 73 71 88; dr 32 "
        "16 36 28; kr 38 15 41 28; dr 55 55 59 68"
    ),
    "drawers": (
        "mr 16 24 84 80; ds1 16 42 84 42; ds1 16 61 84 61; ke 47 31 53 36; ke 47 49 53 54; ke "
        "47 68 53 73; kr 19 80 24 90; kr 76 80 81 90"
    ),
    "lamp": "mp 36 10 64 10 76 42 24 42; ks3 50 42 50 84; de 34 82 66 90",
    "rug": "mp 22 32 78 32 94 74 6 74; lp 30 38 70 38 80 68 20 68; mp 36 43 64 43 70 63 30 63",
    "vase": "me 30 38 70 88; mr 42 16 58 48; dr 38 12 62 19",
    "pan": "me 8 34 62 72; de 13 39 57 67; ks6 60 52 95 46",
    "pot": "mr 20 38 80 78; dr 16 34 84 42; ke 46 26 54 34; ds4 10 48 20 48; ds4 80 48 90 48",
    "mug": "mr 26 28 66 80; ds6 66 38 82 42 82 60 66 66; le 26 22 66 34",
    "machine": "mr 22 14 78 86; kr 32 36 68 72; lr 42 56 58 72; dr 26 18 74 30; ke 60 20 68 28",
    "kettle": (
        "mp 34 26 62 26 74 82 22 82; ds5 64 30 86 40 76 70; dp 34 34 16 44 30 52; ke 44 18 54 "
        "26"
    ),
    "deckchair": (
        "ds3 20 20 76 90; ds3 76 40 24 90; mp 20 18 30 16 62 66 52 72; mp 50 66 82 60 84 66 54 "
        "74"
    ),
    "grill": "me 18 26 82 62; kr 16 42 84 48; ks3 34 58 22 92; ks3 66 58 78 92; ks4 42 22 58 22",
    "plant": (
        "mp 30 56 70 56 62 92 38 92; dr 27 52 73 59; ds3 50 54 50 22; de 28 16 50 36; de 50 10 "
        "72 32; de 36 30 58 48"
    ),
    "mower": "mr 14 54 66 74; dr 26 44 54 56; ke 14 70 34 90; ke 52 70 72 90; ks4 62 56 94 16",
    "drill": (
        "mr 16 26 70 46; dp 48 44 64 44 70 78 54 78; kr 50 76 78 88; ks3 4 36 18 36; kr 12 31 "
        "20 41"
    ),
    "saw": "dp 14 52 78 52 78 68; me 22 34 70 82; ke 42 54 50 62; mr 44 22 88 46; kr 60 30 80 38",
    "hammer": "dr 28 18 74 34; dp 28 18 14 26 28 32; mr 46 32 54 90",
    "toolbox": "mr 12 42 88 82; ds4 36 42 36 30 64 30 64 42; ls2 12 56 88 56; kr 45 52 55 62",
    "phone": "mr 32 10 68 90; kr 35 16 65 82; de 47 83 53 89; lr 39 22 60 34",
    "laptop": (
        "mr 20 20 80 62; kr 24 24 76 58; dp 20 62 80 62 92 78 8 78; lp 24 65 76 65 82 73 18 73"
    ),
    "keyboard": (
        "mr 6 36 94 66; lr 10 40 90 45; lr 10 48 90 53; lr 10 56 24 61; lr 28 56 72 61; lr 76 "
        "56 90 61"
    ),
    "monitor": "mr 8 16 92 68; kr 12 20 88 62; dr 45 68 55 82; dr 30 82 70 87",
    "headphones": (
        "ms6 18 58 20 30 36 16 50 13 64 16 80 30 82 58; de 10 50 28 84; de 72 50 90 84; ke 15 "
        "56 26 80; ke 74 56 85 80"
    ),
    "speaker": "mr 28 8 72 92; ke 34 44 66 82; de 42 54 58 72; ke 40 16 60 36; de 46 22 54 30",
    "camera": "mr 10 32 90 78; dr 34 22 62 34; ke 32 36 70 76; le 40 44 62 68; kr 74 24 84 32",
    "console": (
        "mp 20 34 80 34 94 76 80 80 66 62 34 62 20 80 6 76; kr 22 44 36 48; kr 27 39 31 53; ke "
        "64 40 70 46; ke 72 46 78 52; le 42 50 50 58; le 52 50 60 58"
    ),
    "dress": "mp 38 10 44 18 56 18 62 10 66 36 60 48 80 92 20 92 40 48 34 36; ds2 40 48 60 48",
    "shirt": (
        "mp 34 16 44 22 56 22 66 16 90 32 82 48 70 40 70 88 30 88 30 40 18 48 10 32; ds1 50 22 "
        "50 88"
    ),
    "coat": (
        "mp 34 10 66 10 88 24 88 66 78 66 74 36 76 94 24 94 26 36 22 66 12 66 12 24; ds2 50 12 "
        "50 94; kr 54 36 58 40; kr 54 52 58 56; dp 38 10 50 32 62 10"
    ),
    "boot": "mp 34 10 60 10 60 58 86 70 88 82 34 82; kr 34 82 88 88; dr 34 10 60 16",
    "bag": "mr 16 42 84 86; ds4 32 42 34 22 66 22 68 42; dr 16 42 84 56; le 46 52 54 60",
    "jacket": (
        "mp 32 16 68 16 90 30 84 70 74 68 72 40 72 80 28 80 28 40 26 68 16 70 10 30; ks2 50 18 "
        "50 80; dr 28 74 72 80; dr 34 54 44 58; dr 56 54 66 58"
    ),
    "trousers": "mp 30 8 70 8 76 92 56 92 50 34 44 92 24 92; dr 30 8 70 15; ds1 50 15 50 34",
    "sneaker": (
        "mp 8 44 30 40 48 52 78 60 92 66 92 76 8 76; lr 8 74 93 83; ls2 40 50 34 58; ls2 48 54 "
        "42 62; dp 8 44 20 42 20 74 8 74"
    ),
    "watch": "dr 40 4 60 96; me 24 26 76 74; le 30 32 70 68; ks2 50 50 50 38; ks2 50 50 60 54",
    "blocks": (
        "mr 12 58 44 88; dr 46 58 88 88; lr 28 30 66 58; mr 18 53 26 58; dr 54 53 62 58; lr 34 "
        "25 42 30; lr 50 25 58 30"
    ),
    "toycar": (
        "mp 8 52 26 50 38 32 68 32 80 50 94 54 94 70 8 70; lp 32 50 40 36 51 36 51 50; lp 54 50"
        " 54 36 66 36 74 50; ke 18 60 38 80; ke 66 60 86 80"
    ),
    "teddy": (
        "me 30 42 70 86; me 32 14 68 50; me 26 10 42 26; me 58 10 74 26; de 16 46 36 64; de 64 "
        "46 84 64; de 28 74 48 94; de 52 74 72 94; ke 42 26 46 30; ke 54 26 58 30; le 44 34 56 "
        "44"
    ),
    "pram": (
        "mp 18 30 50 14 52 46 18 46; mp 18 46 82 46 70 68 30 68; ks3 80 46 94 24; ke 22 68 42 "
        "90; ke 60 68 80 90"
    ),
    "bicycle": (
        "ks3 8 66 12 54 22 50 32 54 36 66 32 78 22 82 12 78 8 66; ks3 64 66 68 54 78 50 88 54 "
        "92 66 88 78 78 82 68 78 64 66; ms4 22 66 38 38 66 38 50 66 22 66; ms4 50 66 36 32; ms4"
        " 78 66 64 28; kr 29 28 43 32; ks3 64 28 76 26"
    ),
    "helmet": (
        "mp 10 60 14 38 32 22 56 18 78 30 90 54 90 62; kr 12 60 90 67; ds4 30 28 26 58; ds4 50 "
        "22 50 58; ds4 68 26 74 56; ks2 24 66 46 88"
    ),
    "skis": (
        "mp 36 92 30 14 34 6 38 14 44 92; dp 58 92 62 14 66 6 70 14 66 92; kr 34 52 43 62; kr "
        "57 52 66 62"
    ),
    "tent": "mp 50 18 94 84 6 84; dp 50 36 62 84 38 84; ls1 50 18 50 84",
    "ball": (
        "me 18 18 82 82; kp 50 38 61 46 57 59 43 59 39 46; kp 30 22 40 24 34 32; kp 70 22 60 24"
        " 66 32; kp 20 58 28 60 26 70; kp 80 58 72 60 74 70; kp 44 80 50 72 56 80"
    ),
    "racket": (
        "me 24 6 76 62; le 30 12 70 56; ds1 40 14 40 54; ds1 50 12 50 56; ds1 60 14 60 54; ds1 "
        "31 28 69 28; ds1 31 42 69 42; mr 46 60 54 74; kr 45 72 55 96"
    ),
    "guitar": (
        "me 28 56 72 94; me 33 42 67 68; ke 43 56 57 70; dr 46 10 54 58; kr 44 4 56 13; kr 42 "
        "78 58 81"
    ),
    "piano": (
        "mr 6 30 94 52; lr 8 52 92 68; kr 14 52 18 61; kr 24 52 28 61; kr 38 52 42 61; kr 48 52"
        " 52 61; kr 58 52 62 61; kr 72 52 76 61; kr 82 52 86 61; ds4 18 68 14 92; ds4 82 68 86 "
        "92"
    ),
    "drum": (
        "mr 16 38 84 74; me 16 64 84 84; le 16 26 84 50; ds2 24 46 32 78; ds2 76 46 68 78; ks2 "
        "30 10 60 36"
    ),
    "record": "mr 10 12 76 88; ke 42 22 94 78; le 60 42 76 60; me 66 48 70 53",
    "book": "mr 26 12 76 88; dr 22 12 30 88; lr 38 26 68 36; lr 44 42 62 45; ls1 76 16 76 86",
    "comic": (
        "mr 22 10 78 90; lr 26 26 49 54; lr 52 26 74 54; lr 26 58 74 86; dr 26 13 74 22; de 34 "
        "32 44 46; dp 56 52 64 32 72 52; de 44 62 60 82"
    ),
    "coin": "me 20 20 80 80; de 27 27 73 73; me 30 30 70 70; dp 50 36 56 50 64 62 36 62 44 50",
    "figurine": (
        "me 42 10 58 28; mp 42 28 58 28 66 64 34 64; ds4 42 34 28 50; ds4 58 34 72 46; mr 40 62"
        " 60 80; dr 28 80 72 90"
    ),
    "picture": "kr 18 8 82 92; lr 22 12 78 88; mp 26 78 44 42 56 60 66 46 74 78; de 56 20 70 34",
    "bottle": "mr 28 40 72 88; lr 34 54 66 74; dr 43 26 57 40; kr 40 12 60 28",
    "dryer": (
        "me 20 18 66 54; dp 56 24 92 28 92 44 56 50; mp 34 48 50 50 46 90 32 88; ke 26 28 44 46"
    ),
}  # fmt: skip

ROUND = 32
"""Corners of an ellipse's polygon."""
PAINTS = "mdlk"


@cache
def primitives(name: str) -> tuple[tuple[int, str, float, Doubles], ...]:
    """(paint 1..4, form, width, float64[k, 2] points) of each primitive of the shape `name`."""
    found = []
    for one in SHAPES[name].split(";"):
        head, *numbers = one.split()
        points = np.array([float(v) for v in numbers]).reshape(-1, 2)
        width = float(head[2:] or 0)
        found.append((PAINTS.index(head[0]) + 1, head[1], width, points))
    return tuple(found)


def outline(form: str, points: Doubles, roundness: float) -> Doubles:
    """float64[k, 2]: the polygon of a rectangle or ellipse given by two corners; others as is.

    `roundness` 0..1 rounds a rectangle's corners, up to half its shorter side.
    """
    if form not in "re":
        return points
    low, high = points
    middle, half = (low + high) / 2, (high - low) / 2
    if form == "e":
        angle = np.linspace(0, 2 * np.pi, ROUND, endpoint=False)
        return np.asarray(middle + half * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    radius = roundness * half.min()
    angle = np.linspace(0, np.pi / 2, 5)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius
    corners = [
        middle + sign * (half - radius) + turned * sign
        for sign, turned in (
            (np.array([1, 1]), arc), (np.array([-1, 1]), arc[::-1]),
            (np.array([-1, -1]), arc), (np.array([1, -1]), arc[::-1]),
        )
    ]  # fmt: skip
    return np.concatenate(corners)
