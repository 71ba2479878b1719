"""docs/features.md, written from the table itself: `python -m kindred.api.feature_text`."""

from __future__ import annotations

from kindred.rerank.features import FEATURES, GROUPS

HEAD = """\
# Features

What the ranker is told of a candidate, one file a group in `kindred/rerank/features/`. The same
code makes the rows that it learns from and those that it scores, and every answer logs the rows it
was made with, so that nothing is computed again for training. This page is made from the code:
`python -m kindred.api.feature_text > docs/features.md`.

- What is unknown is missing (NaN), which trees treat as a value of its own: never zero by accident.
  Zero says that somebody looked and found none.
- Position, ad rate and campaign are never features, and no group reads them: a test changes them at
  random, and the rows stay the same to the bit. Position enters training as LightGBM's bias term,
  the ad rate enters the order after the probabilities are known.
- Behaviour is as of a moment: of the last training when serving, and of before the questions when
  learning from what people did next.
- A user's affinities are kept by a hash of the id, as rows of the catalogue: brands, categories and
  prices are read when the question is asked.
- What one column says already no other repeats: a space's score in recall is its cosine, so only
  scores that are none are kept beside it.

`kindred features` prints the table for a workspace, with the share of candidates of which each is
known and its share of the serving ranker's gain.
"""


def features_page() -> str:
    """The page: what holds for all, then a table a group."""
    lines = [HEAD, f"{len(FEATURES)} columns in {len(GROUPS)} groups."]
    for group in GROUPS:
        lines += ["", f"## {group.name}", ""]
        lines += ["| column | what it says | unit | reads | why |", "|---|---|---|---|---|"]
        lines += [
            f"| `{f.name}` | {f.meaning} | {f.unit} | {f.reads} | {f.why} |" for f in group.features
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(features_page(), end="")
