"""A visitor's last hour as seeds of a question."""

from __future__ import annotations

from typing import NamedTuple

from kindred.events.sessions import Session
from kindred.schemas.event import ACTION_CODE, ACTIONS, Action, EntityKind
from kindred.schemas.query import SessionAction
from kindred.schemas.ranking import Floats

MAX_SEEDS = 20
"""Newest items of a session that a question starts from, as in training."""
DISMISSED = ACTION_CODE[Action.DISMISS.value]


class Seeds(NamedTuple):
    """What a session says of items."""

    actions: tuple[SessionAction, ...] = ()
    """One for each item, oldest first: its newest moment, the weightiest thing done to it."""
    dismissed: tuple[str, ...] = ()
    """Items that the visitor waved away, and has not touched since."""


def seeds_of(session: Session, action_weights: Floats, without: str | None = None) -> Seeds:
    """Items of a session, but for `without`; `action_weights` float32[actions] by action code.

    Actions without a weight, such as dwelling, name no seed.
    """
    at: dict[str, int] = {}
    done: dict[str, int] = {}
    dismissed: list[str] = []
    told = zip(session.entity_kind, session.action, session.occurred_at, session.entity_id,
               strict=True)  # fmt: skip
    for kind, action, moment, item in told:
        if kind != EntityKind.ITEM.value or item == without:
            continue
        if action == DISMISSED and item not in at:
            dismissed.append(item)
        if action_weights[action] <= 0 or item in dismissed:
            continue
        at.setdefault(item, moment)
        if item not in done or action_weights[action] > action_weights[done[item]]:
            done[item] = action
    newest = list(at)[:MAX_SEEDS]
    actions = tuple(
        SessionAction(item_id=item, action=ACTIONS[done[item]], ts=at[item])
        for item in reversed(newest)
    )
    return Seeds(actions, tuple(dict.fromkeys(dismissed)))
