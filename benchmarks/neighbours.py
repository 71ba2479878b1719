"""docs/neighbours.md: the neighbours of named items in every space, for people to look at.

    python benchmarks/neighbours.py WORKSPACE ITEM_ID... > docs/neighbours.md

Reads the index in use, searched exactly. What is said of them is written by hand.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from kindred.api.wiring import load_settings, open_offline
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.store.port import Search
from kindred.schemas.query import Filters
from kindred.schemas.workspace import Workspace

NEAREST = 4
SHOWN = ("hybrid", "air", "als", "text", "attributes", "visual", "shared", "image", "text_tuned")


def main(folder: str, item_ids: list[str]) -> None:
    """Print the tables."""
    workspace = Workspace(Path(folder))
    corpus = open_offline(workspace, load_settings(workspace.settings, os.environ)).funnel.corpus
    catalogue = Catalogue.open(workspace.catalogue)
    allowed = corpus.planner.allowed(Filters())
    spaces = [name for name in SHOWN if name in corpus.tables]

    def titled(row: int) -> str:
        item = catalogue.by_rows([row])[0]
        words = item.title or "(no title)"
        return f"{words} · {item.category[1].lower()}" if len(item.category) > 1 else words

    for item_id in item_ids:
        row = int(corpus.columns.rows([item_id])[0])
        print(f"\n### {titled(row)}\n")
        columns = []
        for space in spaces:
            vector, has = corpus.tables[space].gather(np.array([row]))
            if not has[0]:
                columns.append(["–"] * NEAREST)
                continue
            search = Search(
                space=space, vectors=vector, k=NEAREST + 1, filters=Filters(), allowed=allowed,
                plan=corpus.planner.plan(allowed, NEAREST + 1, corpus.tables[space]),
            )  # fmt: skip
            found = corpus.exact.search([search])[0]
            rows = [r for r in found.rows[0].tolist() if r >= 0 and r != row][:NEAREST]
            columns.append([*map(titled, rows), *["–"] * (NEAREST - len(rows))])
        print("| " + " | ".join(spaces) + " |")
        print("|" + "---|" * len(spaces))
        for line in zip(*columns, strict=True):
            print("| " + " | ".join(line) + " |")
    catalogue.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
