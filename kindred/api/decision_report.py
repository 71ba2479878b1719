"""A logged decision in words: what `kindred decisions show` says of one answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from kindred.events.decision_tables import StoredDecision
from kindred.events.decisions import find
from kindred.events.feature_names import feature_names
from kindred.indexer.catalogue import Catalogue
from kindred.retrieval.sources import SOURCES
from kindred.schemas.decision import Decision
from kindred.schemas.errors import InputError
from kindred.schemas.workspace import Workspace

Cell = str | int | float | bool | None


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as its log tells it."""

    decision: Decision
    seed_title: str | None
    """As the catalogue has it today."""
    sources: list[list[str]]
    """Names of the recall sources of each candidate."""
    feature_names: tuple[str, ...]
    features: list[list[float]] | None
    """Of each candidate, in the order of the names; null is unknown."""


def stored_decision(workspace: Workspace, decision_id: str) -> StoredDecision:
    """From the log or the lake; InputError where neither has it."""
    found = find(workspace.lake, workspace.decisions, decision_id)
    if found is None:
        raise InputError(
            f"no decision {decision_id!r} in {workspace.decisions} or the lake", "$.decision_id"
        )
    return found


def explained(workspace: Workspace, decision_id: str) -> Explained:
    """One answer from its log, with the seed's title where the catalogue has it."""
    decision, features = stored_decision(workspace, decision_id)
    held = decision.candidates
    names: tuple[str, ...] = ()
    if features is not None and decision.feature_spec is not None:
        names = feature_names(workspace.lake, decision.feature_spec)
    return Explained(
        decision=decision,
        seed_title=_title(workspace, decision.context.seed_item),
        sources=[] if held is None else [source_names(bits) for bits in held.sources],
        feature_names=names,
        features=None if features is None else features.tolist(),
    )


def source_names(bits: int) -> list[str]:
    """The recall sources of a bit set."""
    return [name for bit, name in enumerate(SOURCES) if bits >> bit & 1]


def candidate_rows(told: Explained, limit: int) -> list[list[Cell]]:
    """One row for each of the first `limit` candidates: the columns of CANDIDATE_COLUMNS."""
    held = told.decision.candidates
    if held is None:
        return []
    shown = told.decision.shown
    return [
        [
            at + 1 if at < len(shown.item_id) else None,
            held.item_id[at],
            ", ".join(told.sources[at]),
            held.recall_rank[at],
            _at(held.score, at),
            _at(held.probability, at),
            held.ad_rate_bp[at],
            "paid" if at < len(shown.item_id) and shown.sponsored[at] else None,
            _at(held.blend, at),
            shown.propensity[at] if at < len(shown.item_id) else None,
        ]
        for at in range(min(limit, len(held.item_id)))
    ]


CANDIDATE_COLUMNS = ("position", "item", "found by", "merge rank", "score", "probability",
                     "rate (bp)", "placed", "blend", "propensity")  # fmt: skip
CANDIDATES_SPARE = ("score", "probability", "propensity", "placed", "blend", "rate (bp)",
                    "merge rank")  # fmt: skip
"""Columns that a narrow terminal may do without, the dearest first."""


def telling_features(told: Explained, items: int, each: int) -> list[list[Cell]]:
    """What sets the first `items` candidates apart: name, median of all, the items' values.

    For each of them the `each` features that lie furthest from the logged candidates' median, in
    standard deviations; features that all share say nothing and are left out.
    """
    held = told.decision.candidates
    if told.features is None or held is None or len(held.item_id) < 2:
        return []
    rows = np.array(told.features, np.float64)
    rows[~np.isfinite(rows)] = np.nan
    usable = np.flatnonzero(np.isfinite(rows).any(axis=0))
    usable = usable[np.nanstd(rows[:, usable], axis=0) > 0]
    middle = np.nanmedian(rows[:, usable], axis=0)
    away = np.abs(rows[:items, usable] - middle) / np.nanstd(rows[:, usable], axis=0)
    away[np.isnan(away)] = 0.0
    first = np.argsort(-away, axis=1, kind="stable")[:, :each]
    chosen = list(dict.fromkeys(first.T.ravel().tolist()))
    return [
        [
            told.feature_names[usable[f]],
            float(middle[f]),
            *(None if np.isnan(v) else float(v) for v in rows[:items, usable[f]]),
        ]
        for f in chosen
    ]


def facts(told: Explained) -> list[tuple[str, Cell]]:
    """Who, what, when, and with what."""
    from kindred.api.times import readable

    decision, context, subject = told.decision, told.decision.context, told.decision.subject
    seed = context.seed_item
    if seed is not None and told.seed_title:
        seed = f"{seed} ({told.seed_title})"
    place = context.place
    who = {
        "user": subject.user_id, "device": subject.device_id, "session": subject.session_id,
    }  # fmt: skip
    lines: list[tuple[str, Cell]] = [
        ("when", readable(decision.occurred_at)),
        ("who", _joined(who) or "a visitor without a name"),
        ("role, platform", f"{subject.role.value}, {context.platform.value}"),
        ("surface, policy", f"{decision.surface}, {decision.policy}"),
        ("seed", seed),
        ("session", ", ".join(context.session) or None),
        ("place", None if place is None else f"{place.lat:.4f}, {place.lon:.4f}"),
        ("candidates", decision.candidate_count),
        ("milliseconds", _joined({n: f"{ms:.2f}" for n, ms in decision.ms.items()})),
        ("degraded", "; ".join(decision.degraded) or "nothing"),
        ("versions", _joined(decision.versions)),
        ("flags", _joined(decision.flags) or None),
        ("experiments", _joined(decision.experiments) or None),
        ("random share", decision.epsilon),
        ("trace", decision.traceparent),
        ("features", decision.feature_spec),
        ("logged by", f"{decision.writer}, number {decision.sequence}"),
    ]
    return [(name, value) for name, value in lines if value is not None]


def _joined(values: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _at(column: Sequence[float] | None, entry: int) -> float | None:
    return None if column is None else column[entry]


def _title(workspace: Workspace, item_id: str | None) -> str | None:
    if item_id is None or not workspace.catalogue.exists():
        return None
    catalogue = Catalogue.open(workspace.catalogue)
    try:
        item = catalogue.get(item_id)
    finally:
        catalogue.close()
    return None if item is None else item.title or None
