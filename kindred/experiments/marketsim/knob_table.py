"""The knobs as tables for the documentation, made from their docstrings.

`python -m kindred.experiments.marketsim.knob_table` prints those of the catalogue.
"""

from __future__ import annotations

import ast
import inspect
import textwrap

import msgspec

from kindred.experiments.marketsim.knobs import MarketKnobs


def knob_table(kind: type[msgspec.Struct]) -> str:
    """Markdown: a row for each knob, with its default and the docstring under it."""
    rows = ["| knob | default | meaning, and why the default |", "|---|---|---|"]
    words = _docstrings(kind)
    values = kind()
    for name in kind.__struct_fields__:
        value = getattr(values, name)
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
        rows.append(f"| `{name}` | {shown} | {words[name].replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def _docstrings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Field -> what stands under it, on one line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


if __name__ == "__main__":
    print(knob_table(MarketKnobs), end="")
