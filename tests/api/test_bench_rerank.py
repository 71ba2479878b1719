"""`kindred bench rerank`: what it measures is what serves."""

from __future__ import annotations

import json

import numpy as np
from click.testing import CliRunner

from kindred.api.bench.rerank_market import draw_corpus, draw_questions
from kindred.api.cli import main
from kindred.rerank.features import FEATURES, GROUPS, Context, assemble
from kindred.schemas.progress import SilentProgress

NOW = 1_700_000_000_000_000
MADE = {"popularity", "seeds", "hour", "weekday", "found_by", "merged"}
PICTURES = {"cos_image_session", "cos_visual_session", "cos_shared_session",
            "cos_text_tuned_session"}  # fmt: skip


def test_every_feature_but_those_of_pictures_is_known_of_what_is_drawn() -> None:
    corpus = draw_corpus(2000, 1, NOW, SilentProgress())
    corpus, asked = draw_questions(corpus, 8, 50, 1, NOW)
    rows = np.concatenate([assemble(Context(a.queries, a.candidates, corpus)) for a in asked])
    known = dict(zip(FEATURES, (~np.isnan(rows)).mean(axis=0), strict=True))
    assert {name for name, share in known.items() if share == 0} == PICTURES
    assert all(known[name] == 1 for name in MADE)


def test_the_measurement_tells_every_part(tmp_path: object) -> None:
    asked = ["--items", "2000", "--candidates", "30", "--trees", "4", "--requests", "50"]
    for clock in ("wall", "cpu"):
        found = CliRunner().invoke(
            main, ["-w", str(tmp_path), "bench", "rerank", *asked, "--clock", clock, "--json"]
        )
        assert found.exit_code == 0, found.output
        report = json.loads(found.stdout)
        assert (report["candidates"], report["trees"], report["clock"]) == (30, 4, clock)
        assert report["features"] == len(FEATURES)
        assert set(report["groups"]) == {group.name for group in GROUPS}
        assert {"features", "rank", "blend"} <= set(report["stages"])
        assert report["ratio"] > 0
        assert report["compiled"] is True
        assert report["lightgbm_rerank"]["p50"] > report["lightgbm"]["p50"] > 0
