"""Fenced blocks of Markdown, and what the comment above each says is to be done with it.

<!-- run -->            run it: a shell script, or Python
<!-- answer -->         JSON whose keys the last run's output must have
<!-- skip: reason -->   neither, and why
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

TESTED = {"sh", "bash", "shell", "console", "json", "python"}
OPEN_MAPS = {
    "ms", "versions", "sources", "by_space", "differences", "plan", "gates", "left_out",
    "similarity", "places",
}  # fmt: skip
"""Objects whose keys depend on the data: a key may be missing on either side."""
OPEN_WITHIN = {"plan"}
"""Those whose values are such objects too: how a space was searched depends on its size."""
MAY_BE_EMPTY = {"moves", "moved", "entered", "left", "spaces", "costs"}
"""Lists that are empty where there is nothing to tell."""

_MARKER = re.compile(r"<!-- (?P<what>run|run first|answer|skip: (?P<reason>\S.*)) -->")


What = Literal["run", "run first", "answer", "skip"]


@dataclass(frozen=True)
class Block:
    """A fenced block with its marker."""

    line: int
    language: str
    what: What
    text: str


def blocks(markdown: str) -> list[Block]:
    """The blocks that are tested or excused; ValueError for one that is neither."""
    found = []
    lines = markdown.splitlines()
    numbers = iter(range(len(lines)))
    for at in numbers:
        if not lines[at].startswith("```"):
            continue
        end = next((n for n in numbers if lines[n].rstrip() == "```"), len(lines))
        language = (lines[at][3:].split() or [""])[0]
        if language in TESTED:
            above = lines[at - 1] if at else ""
            text = "".join(f"{line}\n" for line in lines[at + 1 : end])
            found.append(Block(at + 1, language, _what(above, language, at + 1), text))
    return found


def _what(above: str, language: str, line: int) -> What:
    marker = _MARKER.fullmatch(above)
    if marker is None:
        raise ValueError(f"line {line}: nothing says what to do with this block")
    what: Any = marker["what"].partition(":")[0]
    if (what == "answer") != (language == "json") and what != "skip":
        raise ValueError(f"line {line}: JSON is an answer, and nothing else is")
    return what  # type: ignore[no-any-return]


def documents(text: str) -> list[Any]:
    """The JSON documents that follow one another in `text`."""
    decoder, at, found = json.JSONDecoder(), 0, []
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def differences(printed: Any, real: Any, path: str = "$") -> Iterator[str]:
    """Where the printed answer has another shape than the real one; null goes with anything.

    Each printed element of a list is compared with the first real one.
    """
    if printed is None or real is None:
        return
    if isinstance(printed, bool | int | float | str) or type(printed) is not type(real):
        if _kind(printed) != _kind(real):
            yield f"{path}: printed {_kind(printed)}, real {_kind(real)}"
    elif isinstance(printed, list):
        told = path.rpartition(".")[2] not in MAY_BE_EMPTY
        if told and printed and not real and isinstance(printed[0], dict | list):
            yield f"{path}: printed {len(printed)} elements, real none"
        for at, element in enumerate(printed):
            yield from differences(element, real[0] if real else None, f"{path}[{at}]")
    elif _open(path):
        alike = next((v for v in real.values() if isinstance(v, dict)), None)
        for key, value in printed.items():
            other = real.get(key, alike if isinstance(value, dict) else None)
            yield from differences(value, other, f"{path}.{key}")
    else:
        for key in sorted(printed.keys() ^ real.keys()):
            yield f"{path}.{key}: only in the {'printed' if key in printed else 'real'} answer"
        for key in sorted(printed.keys() & real.keys()):
            yield from differences(printed[key], real[key], f"{path}.{key}")


def _open(path: str) -> bool:
    *_, above, name = ("", *path.split("."))
    return name in OPEN_MAPS or above in OPEN_WITHIN


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return {str: "a string", list: "a list", dict: "an object"}[type(value)]
