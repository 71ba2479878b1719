"""Charts as SVG text: axes, lines, points and a legend. No library, no fonts, no scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

Pair = tuple[float, float]
COLOURS = ("#0b5fa5", "#d1495b", "#2e8b57", "#8d6a9f", "#c77d0a", "#4a4e57", "#1fa2b8")
WIDTH, HEIGHT, MARGIN = 560, 400, 62


@dataclass(frozen=True, slots=True)
class Line:
    """One series; `labels` name its points where there are any."""

    name: str
    points: Sequence[Pair]
    labels: Sequence[str] = ()
    dashed: bool = False
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over two axes."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]


def svg(charts: Sequence[Chart]) -> str:
    """The charts beside each other as one picture."""
    body = "".join(
        f'<g transform="translate({n * WIDTH},0)">{_chart(chart)}</g>'
        for n, chart in enumerate(charts)
    )
    width = WIDTH * len(charts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
        f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>{body}</svg>\n'
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values within the bounds, some `about` of them."""
    span = max(high - low, 1e-12)
    power = 10.0 ** _floor_log(span / about)
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= about)
    first = -(-low // step)
    return [round((first + n) * step, 12) for n in range(int((high - first * step) / step) + 1)]


def _floor_log(value: float) -> int:
    power = 0
    while 10.0 ** (power + 1) <= value:
        power += 1
    while 10.0**power > value:
        power -= 1
    return power


def _chart(chart: Chart) -> str:
    flat = [pair for line in chart.lines for pair in line.points]
    xs, ys = _bounds([x for x, _ in flat]), _bounds([y for _, y in flat])

    def at(pair: Pair) -> Pair:
        across = (pair[0] - xs[0]) / (xs[1] - xs[0])
        up = (pair[1] - ys[0]) / (ys[1] - ys[0])
        return (
            round(MARGIN + across * (WIDTH - MARGIN - 16), 1),
            round(HEIGHT - MARGIN + 16 - up * (HEIGHT - MARGIN - 16), 1),
        )

    parts = [
        f'<text x="{WIDTH / 2}" y="16" text-anchor="middle" font-size="13">'
        f"{escape(chart.title)}</text>",
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(chart.x)}</text>',
        f'<text transform="translate(13,{HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.y)}</text>",
    ]
    for x in ticks(*xs):
        px, py = at((x, ys[0]))
        parts.append(f'<line x1="{px}" x2="{px}" y1="{py}" y2="{at((x, ys[1]))[1]}" '
                     f'stroke="#e4e4e4"/><text x="{px}" y="{py + 15}" text-anchor="middle">'
                     f"{x:g}</text>")  # fmt: skip
    for y in ticks(*ys):
        px, py = at((xs[0], y))
        parts.append(f'<line x1="{px}" x2="{at((xs[1], y))[0]}" y1="{py}" y2="{py}" '
                     f'stroke="#e4e4e4"/><text x="{px - 5}" y="{py + 4}" text-anchor="end">'
                     f"{y:g}</text>")  # fmt: skip
    for n, line in enumerate(chart.lines):
        parts.append(_series(line, COLOURS[n % len(COLOURS)], len(chart.lines) - n, at))
    return "".join(parts)


def _series(line: Line, colour: str, number: int, at: Callable[[Pair], Pair]) -> str:
    places = [at(pair) for pair in line.points]
    path = " ".join(f"{x},{y}" for x, y in places)
    dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
    drawn = ""
    if line.joined:
        stroke = f'stroke="{colour}" stroke-width="1.6"{dashes}'
        drawn = f'<polyline points="{path}" fill="none" {stroke}/>'
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="2.6" fill="{colour}"/>' for x, y in places)
    words = "".join(
        f'<text x="{x + 4}" y="{y - 4}" fill="{colour}">{escape(label)}</text>'
        for (x, y), label in zip(places, line.labels, strict=False)
    )
    y = HEIGHT - MARGIN + 10 - 14 * number
    legend = (
        f'<rect x="{WIDTH - 196}" y="{y - 7}" width="10" height="4" fill="{colour}"/>'
        f'<text x="{WIDTH - 182}" y="{y}">{escape(line.name)}</text>'
    )
    return drawn + dots + words + legend


def _bounds(values: Sequence[float]) -> Pair:
    low, high = min(values, default=0.0), max(values, default=1.0)
    space = 0.04 * (high - low) or 0.5
    return low - space, high + space
