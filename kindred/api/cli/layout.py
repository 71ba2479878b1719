"""Which columns of a table fit, and how wide each is: what people copy stays in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LONGEST_WORD = 64
"""Cells of a word that is never broken; ids and hashes are shorter."""
READABLE = 24
"""Cells that a column of sentences keeps while there is a spare column left to leave out."""
GLIMPSE = 12
"""Cells that a column of cut values keeps."""
BETWEEN = 2
"""Blank cells beside a column."""
EDGE = 1


class Measures(NamedTuple):
    """What a column asks for, in cells."""

    natural: int
    """Every value in one line."""
    readable: int
    least: int
    """No word broken."""
    cut: bool = False
    """Whether values are cut to one line: such columns give way before all others."""


class Layout(NamedTuple):
    """The columns that are shown, by their place, and the width of each."""

    columns: list[int]
    widths: list[int]

    @property
    def width(self) -> int:
        """Of the whole table."""
        return EDGE + sum(self.widths) + BETWEEN * len(self.widths)


def measures(values: Sequence[str], heading: str, *, cut: bool = False) -> Measures:
    """Of a column of these values."""
    from rich.cells import cell_len

    lines = [line for value in (heading, *values) for line in value.splitlines()]
    natural = max(map(cell_len, lines), default=0)
    if cut:
        least = min(natural, max(GLIMPSE, cell_len(heading)))
        return Measures(natural, least, least, cut)
    words = (cell_len(word) for line in lines for word in line.split())
    least = min(max(words, default=0), LONGEST_WORD)
    return Measures(natural, max(least, min(natural, READABLE)), least)


def fitted(asked: Sequence[Measures], room: int, spare: Sequence[int] = ()) -> Layout:
    """Columns for `room` cells.

    `spare` columns, the dearest first, are shown as far as they fit beside the others. Cut
    columns give way first, then the widest. Where even unbroken words do not fit, the table is
    wider than `room`.
    """
    columns = [at for at in range(len(asked)) if at not in spare]
    for at in spare:
        wider = sorted([*columns, at])
        if Layout(wider, [asked[c].readable for c in wider]).width <= room:
            columns = wider
    layout = Layout(columns, [asked[at].natural for at in columns])
    shown = [asked[at] for at in columns]
    narrow(layout, room, [m.least if m.cut else m.natural for m in shown])
    narrow(layout, room, [m.readable for m in shown])
    narrow(layout, room, [m.least for m in shown])
    return layout


def narrow(layout: Layout, room: int, floors: Sequence[int]) -> None:
    """Take from the widest columns, in place, as far as their floors allow."""
    widths = layout.widths
    for _ in range(layout.width - room):
        able = [at for at, floor in enumerate(floors) if widths[at] > floor]
        if not able:
            return
        widths[max(able, key=widths.__getitem__)] -= 1
