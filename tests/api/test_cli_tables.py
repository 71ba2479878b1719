"""Tables on narrow terminals, and the notes that go with every result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from join_rows import decision, decisions

from kindred.api.cli import main
from kindred.api.cli.output import print_table
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS

ID = "019bd392-4416-7751-9056-6a27aa369b13"
SENTENCE = "a sentence of a good many words that goes on for longer than a line of a terminal has"


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_an_id_stays_in_one_piece_however_narrow_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    columns = ("decision", "item", "says", "found by", "rank")
    sources = "pairs, forward, als, attributes"
    print_table("", columns, [(ID, "item/1", SENTENCE, sources, 1)], spare=("rank", "found by"))
    told = capsys.readouterr()
    assert ID in told.out
    assert "item/1" in told.out
    assert max(len(line.rstrip()) for line in told.out.splitlines()) <= max(width, 60)
    assert all(word in told.out for word in SENTENCE.split())
    for column in ("found by", "rank"):
        assert (column in told.out) == (column not in told.err), told
    assert "decision" not in told.err


def test_ids_that_do_not_fit_side_by_side_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    print_table("", ("one", "other"), [(ID, ID)])
    assert capsys.readouterr().out.count(ID) == 2


def test_a_value_is_cut_to_one_line_before_others_are_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    rows = [("$.events[0].action", SENTENCE[:40], '{"event_id": ' + "x" * 500)]
    print_table("", ("path", "reason", "row"), rows, cut=("row",))
    lines = capsys.readouterr().out.splitlines()
    assert [SENTENCE[:40] in line and "x…" in line for line in lines].count(True) == 1
    assert max(map(len, lines)) == 100


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A simulated marketplace with one answer, which no ranker scored."""
    (tmp_path / "kindred.toml").write_text('notes = ["All of it is simulated."]\n')
    whole = decision(
        "d1", "a", "b", writer="w", sequence=1, session_items=[], category=[], versions="{}",
        flags="{}", experiments="{}", ms="{}", candidate_sources=[1, 2],
        candidate_recall_rank=[1, 2], candidate_merged=[0.2, 0.1],
    )  # fmt: skip
    Lake(tmp_path / "lake", DECISIONS).append(decisions(whole))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("decisions", "list"), ("decisions", "show", "d1"), ("decisions", "losses"),
        ("decisions", "rescore"), ("join",), ("export",), ("join", "--json"),
        ("export", "--json"), ("decisions", "show", "d1", "--json"),
        ("decisions", "losses", "--json"), ("decisions", "rescore", "--json"),
    ],
)  # fmt: skip
def test_what_is_simulated_says_so(workspace: Path, arguments: tuple[str, ...]) -> None:
    told = CliRunner().invoke(main, ["-w", str(workspace), *arguments])
    assert told.exit_code == (1 if "rescore" in arguments else 0), told.output
    assert "Note: All of it is simulated." in told.stderr.splitlines()
    if "--json" in arguments:
        assert json.loads(told.stdout)["notes"] == ["All of it is simulated."]


def test_a_copy_begins_at_a_minute(workspace: Path) -> None:
    copied = ("export", "--output", str(workspace / "copied"), "--since", "2023-11-15T10:30")
    assert CliRunner().invoke(main, ["-w", str(workspace), *copied]).exit_code == 0


@pytest.mark.parametrize("arguments", [(), ("d1",), ("--json",), ("--since", "2040-01-01")])
def test_a_log_without_a_score_is_not_confirmed(
    workspace: Path, arguments: tuple[str, ...]
) -> None:
    told = CliRunner().invoke(main, ["-w", str(workspace), "decisions", "rescore", *arguments])
    assert told.exit_code == 1
    assert "--json" in arguments or "nothing to check" in told.stderr
