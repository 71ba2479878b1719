"""Rules as they are kept: checked, durable, with their history."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kindred.rerank.rule_store import RuleStore
from kindred.schemas.errors import RulesError
from kindred.schemas.rule import Effect, Match, Rule, SeedScope

ITEM = Match(items=("a",))


def rule(rule_id: str = "r", effect: str = "exclude", **facts: Any) -> Rule:
    """A rule that is as it should be."""
    told: dict[str, Any] = {"match": ITEM, "author": "ann", "reason": "because", **facts}
    return Rule(rule_id=rule_id, effect=Effect(effect), **told)


def known(item_ids: Sequence[str]) -> list[bool]:
    """The catalogue holds single letters."""
    return [len(i) == 1 for i in item_ids]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RuleStore]:
    now = iter(range(1000, 2000))
    held = RuleStore.open(tmp_path / "rules.sqlite", clock=lambda: next(now))
    yield held
    held.close()


def test_a_rule_is_kept_once_and_its_changes_for_ever(store: RuleStore) -> None:
    first, second = rule(), rule(effect="boost", factor=2.0)
    assert store.put([first], "shop", known)[:2] == (1, 0)
    assert store.put([first], "shop", known)[:2] == (0, 1)
    assert store.put([second], "ann", known).sequence == 2
    assert store.rules() == (2, [second])
    assert store.remove("r", "bob")
    assert not store.remove("r", "bob")
    assert store.rules() == (3, [])
    told = [(c.sequence, c.by, c.rule_id, c.rule) for c in store.history("r")]
    assert told == [(3, "bob", "r", None), (2, "ann", "r", second), (1, "shop", "r", first)]
    assert [c.at for c in store.history()] == sorted((c.at for c in store.history()), reverse=True)
    assert len(store.history(limit=2)) == 2
    assert store.history("other") == []


WRONG = [
    (rule(effect="pin"), ".place"),
    (rule(place=2), ".place"),
    (rule(effect="boost"), ".factor"),
    (rule(effect="bury", factor=2.0), ".factor"),
    (rule(match=Match()), ".match"),
    (rule(effect="pin", place=1, match=Match(items=("a", "b"))), ".match"),
    (rule(effect="pin", place=1, match=Match(items=("a",), brands=("x",))), ".match"),
    (rule(seeds=SeedScope()), ".seeds"),
    (rule(starts=5, ends=5), ".ends"),
    (rule(match=Match(items=("a", "unheard of"))), ".match.items[1]"),
    (rule(seeds=SeedScope(items=("unheard of",))), ".seeds.items[0]"),
]


@pytest.mark.parametrize(("wrong", "path"), WRONG)
def test_what_is_wrong_is_refused_with_its_path(store: RuleStore, wrong: Rule, path: str) -> None:
    written = store.put([rule("good"), wrong], "", known)
    assert [(r.index, r.path) for r in written.refused] == [(1, path)]
    assert written.accepted == 1
    assert [kept.rule_id for kept in store.rules()[1]] == ["good"]


def test_a_batch_names_each_rule_once(store: RuleStore) -> None:
    written = store.put([rule(), rule(effect="bury")], "", known)
    assert [(r.index, r.path) for r in written.refused] == [(1, ".rule_id")]
    assert store.rules()[1] == [rule()]


def pin(rule_id: str, item: str, **facts: Any) -> Rule:
    return rule(rule_id, "pin", match=Match(items=(item,)), **{"place": 1, **facts})


def test_two_pins_do_not_get_one_place(store: RuleStore) -> None:
    assert store.put([pin("p", "a", ends=100, surfaces=("x",))], "", known).accepted == 1
    refused = store.put([pin("q", "b")], "", known).refused
    assert [(r.path, "'p'" in r.reason) for r in refused] == [(".place", True)]
    apart = [
        pin("later", "b", starts=100),
        pin("elsewhere", "b", ends=100, surfaces=("y",)),
        pin("second", "b", ends=100, place=2, surfaces=("x",)),
        pin("milk", "b", ends=100, seeds=SeedScope(categories=(("milk",),))),
        pin("p", "b", ends=100, surfaces=("x",)),
    ]
    assert store.put(apart, "", known).refused == []
    below = pin("below", "c", seeds=SeedScope(categories=(("milk", "goat"),)))
    assert [r.path for r in store.put([below], "", known).refused] == [".place"]


def test_another_process_sees_a_change(store: RuleStore, tmp_path: Path) -> None:
    other = RuleStore.open(tmp_path / "rules.sqlite")
    assert other.sequence == 0
    store.put([rule()], "", known)
    assert other.sequence == 1
    assert other.rules()[1] == [rule()]
    other.close()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "rules.sqlite").write_bytes(b"not a database" * 200)
    with pytest.raises(RulesError):
        RuleStore.open(tmp_path / "rules.sqlite")


WRITER = """
import sys
from pathlib import Path
from kindred.rerank.rule_store import RuleStore
from kindred.schemas.rule import Effect, Match, Rule

store = RuleStore.open(Path(sys.argv[1]))
for number in range(100_000):
    rule = Rule(rule_id=f"r{number}", effect=Effect.BURY, match=Match(sellers=("s",)),
                author="ann", reason="because")
    assert store.put([rule], "", lambda ids: []).accepted == 1
    print(number, flush=True)
"""


def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "rules.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "0\n"
    time.sleep(0.3)
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged = 1 + len(writer.stdout.read().splitlines())
    writer.wait()
    store = RuleStore.open(path)
    sequence, kept = store.rules()
    names = {rule.rule_id for rule in kept}
    assert {f"r{number}" for number in range(acknowledged)} <= names
    assert len(names) == sequence == len(store.history(limit=200_000))
    assert acknowledged > 1
    store.close()
