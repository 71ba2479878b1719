"""Write the answers of a page's requests anew, from a service that runs.

    kindred demo &
    python tests/refresh_answers.py README.md

Lists of objects are cut to their first two elements; the documentation test compares shapes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from markdown_blocks import blocks, documents

WIDTH = 100
SHOWN = 2


def shortened(value: Any) -> Any:
    """Long lists of objects cut, long fractions rounded."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        objects = bool(value) and isinstance(value[0], dict)
        return [shortened(inner) for inner in (value[:SHOWN] if objects else value)]
    return value


def written(value: Any, indent: int = 0, before: int = 0) -> str:
    """JSON in which what fits on a line is on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or indent + before + len(line) < WIDTH:
        return line
    inner, pad = indent + 2, " " * (indent + 2)
    if isinstance(value, dict):
        keys = {key: f"{json.dumps(key)}: " for key in value}
        lines = [keys[k] + written(v, inner, len(keys[k]) + 1) for k, v in value.items()]
    else:
        lines = [written(v, inner, 1) for v in value]
    first, last = ("{", "}") if isinstance(value, dict) else ("[", "]")
    body = ",\n".join(pad + text for text in lines)
    return f"{first}\n{body}\n{' ' * indent}{last}"


def refreshed(markdown: str) -> str:
    """The page with the answer below each request that gives one."""
    lines = markdown.splitlines()
    for block in reversed(blocks(markdown)):
        end = block.line + block.text.count("\n") + 1
        if block.what == "answer":
            del lines[block.line - 2 : end]
        elif block.what == "run" and "curl" in block.text:
            answers = documents(subprocess.check_output(["bash", "-c", block.text], text=True))
            if answers:
                text = "\n".join(written(shortened(answer)) for answer in answers)
                lines[end:end] = ["", "<!-- answer -->", "```json", *text.splitlines(), "```"]
    text = "\n".join(lines) + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(refreshed(page.read_text()))
