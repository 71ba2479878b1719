"""Tastes against sums written out, and never from their own future."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from builders import event

from kindred.events.contract import event_columns
from kindred.indexer.behaviour.holdout import gate_questions, without_targets
from kindred.indexer.behaviour.interactions import Interactions, load_interactions
from kindred.indexer.behaviour.tastes import (
    HALF_LIFE_DAYS,
    MOST,
    Tastes,
    own_and_popular,
    user_tastes,
)
from kindred.indexer.behaviour.users import user_keys
from kindred.schemas.clock import DAY
from kindred.schemas.event import Action, Event
from kindred.schemas.settings import SignalSettings

START = 1_700_000_000_000_000
SIGNALS = SignalSettings(weights={"view": 1.0, "purchase": 8.0})
ROWS = pl.DataFrame({"item_id": [f"item-{i}" for i in range(99)], "row": range(99)})


def log(*events: Event) -> Interactions:
    frame = event_columns(pl.DataFrame([msgspec.to_builtins(e) for e in events]))
    return load_interactions(frame.lazy(), ROWS, SIGNALS)


def did(user: str | None, action: Action, number: int, day: float) -> Event:
    return event(user_id=user, device_id="phone", action=action, entity_id=f"item-{number}",
                 occurred_at=START + int(day * DAY))  # fmt: skip


def held(tastes: Tastes, user: str) -> dict[int, float]:
    _, rows, weights = tastes.lookup(user_keys([user]))
    return dict(zip(rows.tolist(), weights.tolist(), strict=True))


def test_actions_add_up_by_worth_and_age_and_nothing_later_counts() -> None:
    told = log(
        did("ann", Action.VIEW, 3, 0), did("ann", Action.PURCHASE, 3, 10),
        did("ann", Action.VIEW, 5, 10), did("ann", Action.DWELL, 6, 10),
        did("bo", Action.VIEW, 7, 9), did(None, Action.VIEW, 8, 9), did("ann", Action.VIEW, 9, 20),
    )  # fmt: skip
    tastes = user_tastes(told, START + 20 * DAY, SIGNALS)
    half = 0.5 ** (10 / HALF_LIFE_DAYS)
    assert held(tastes, "ann") == pytest.approx({3: 8 * half + half**2, 5: half}, rel=1e-6)
    assert list(held(tastes, "ann")) == [3, 5]
    assert set(held(tastes, "bo")) == {7}
    assert held(tastes, "phone") == held(tastes, "stranger") == {}
    assert len(tastes.keys) == 2
    owners, rows, _ = tastes.lookup(user_keys(["bo", None, "ann"]))
    assert owners.tolist() == [0, 2, 2]
    assert rows.tolist() == [7, 3, 5]


def test_the_heaviest_are_kept_of_who_did_much() -> None:
    told = [did("ann", Action.VIEW, n, n) for n in range(MOST + 10)]
    tastes = user_tastes(log(*told), START + 99 * DAY, SIGNALS)
    assert list(held(tastes, "ann")) == list(range(MOST + 9, 9, -1))


def test_they_are_kept_and_read_and_may_be_none(tmp_path: Path) -> None:
    tastes = user_tastes(log(did("ann", Action.VIEW, 3, 0)), START + DAY, SIGNALS)
    np.savez(tmp_path / "kept.npz", **tastes.arrays())
    again = Tastes.load(np.load(tmp_path / "kept.npz"))
    assert held(again, "ann") == held(tastes, "ann")
    for nobody in (log(did(None, Action.VIEW, 3, 0)), log(did("ann", Action.VIEW, 3, 5))):
        assert held(user_tastes(nobody, START + DAY, SIGNALS), "ann") == {}


def test_of_early_versions_nothing_is_recalled() -> None:
    arrays = user_tastes(log(did("ann", Action.VIEW, 3, 0)), START + DAY, SIGNALS).arrays()
    del arrays["recalled"]
    early = Tastes.load(arrays)
    assert set(held(early, "ann")) == {3}
    assert not early.recalled


def visits(draw: np.random.Generator, favourites: int) -> Interactions:
    """Thirty users, five visits each; half of what is viewed is one of a user's favourites."""
    told = []
    for user in range(30):
        own = draw.choice(99, max(favourites, 1), replace=False)
        for visit in range(5):
            for step in range(4):
                mine = favourites and draw.random() < 0.5
                number = int(draw.choice(own) if mine else draw.integers(99))
                day = visit + step / 1000
                who = f"user-{user}" if user < 25 else None
                told.append(did(who, Action.VIEW, number, day))
    return log(*told)


@pytest.mark.parametrize("seed", range(3))
def test_the_next_item_is_looked_for_among_the_users_ten_and_ten_bestsellers(seed: int) -> None:
    past = visits(np.random.default_rng(seed), favourites=4)
    asked = gate_questions(past, 99)
    rest = without_targets(past, asked)
    tastes = user_tastes(rest, START + 9 * DAY, SIGNALS)
    users = past.users[past.subject[asked.events]]
    own, popular = own_and_popular(rest, asked, users, tastes)
    best = np.argsort(-np.bincount(rest.row, minlength=99), kind="stable").tolist()
    names = {
        int(key): f"user-{n}" for n, key in enumerate(user_keys(f"user-{n}" for n in range(25)))
    }
    for q in range(len(asked)):
        seen = set(asked.seeds[asked.offsets[q] : asked.offsets[q + 1]].tolist())
        mine = [r for r in held(tastes, names.get(int(users[q]), "")) if r not in seen][:10]
        assert own[q] == (asked.targets[q] in mine)
        assert popular[q] == (asked.targets[q] in [r for r in best if r not in seen][:10])
    assert 0 < own.sum() < len(asked)
