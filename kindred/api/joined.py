"""What was shown and what came of it, as training reads it from a workspace."""

from __future__ import annotations

from functools import partial

import polars as pl
import structlog

from kindred.events.decisions import all_decisions
from kindred.events.feature_names import feature_names
from kindred.events.joined_days import reading_joined
from kindred.events.joining import joined_until
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS, JOINED
from kindred.indexer.behaviour.impressions import load_impressions
from kindred.indexer.catalogue import Catalogue
from kindred.rerank.features import SPECIFICATION
from kindred.rerank.logged import JoinedLog
from kindred.schemas.errors import ArtefactError
from kindred.schemas.workspace import Workspace


def catalogue_rows(catalogue: Catalogue) -> pl.DataFrame:
    """item_id -> row, of every item that the catalogue holds or held."""
    pairs = [(change.item.item_id, change.row) for part in catalogue.scan() for change in part]
    schema = {"item_id": pl.String, "row": pl.Int64}
    return pl.DataFrame(pairs, schema=schema, orient="row")


def joined_fingerprints(workspace: Workspace) -> dict[str, str]:
    """Of the joined impressions and of the decisions; it costs a listing, not a reading."""
    return {
        "joined": Lake(workspace.lake, JOINED).fingerprint(),
        "decisions": Lake(workspace.lake, DECISIONS).fingerprint(),
    }


def read_joined(workspace: Workspace, row_of: pl.DataFrame) -> JoinedLog:
    """The joined impressions of a workspace; features are read when they are needed.

    Lists whose specification nobody kept the names of stay away from the ranker's training.
    """
    inputs = joined_fingerprints(workspace)
    with reading_joined(workspace.lake) as rows:
        shown = load_impressions(rows, row_of)
    known = {}
    for specification in shown.specs.drop_nulls().unique().sort().to_list():
        if specification == SPECIFICATION:
            continue
        try:
            known[specification] = feature_names(workspace.lake, specification)
        except ArtefactError as error:
            structlog.get_logger("kindred").warning("logged features stay unread", why=str(error))
    return JoinedLog(
        shown=shown,
        decisions=partial(all_decisions, workspace.lake, workspace.decisions),
        specifications=known,
        inputs=inputs,
        until=joined_until(workspace.lake) or shown.newest + 1,
    )
