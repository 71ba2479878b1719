"""What the relations of a request mean for recall: other weights, and sometimes other shelves."""

from __future__ import annotations

import msgspec

from kindred.indexer.columns import Columns
from kindred.indexer.facts import LEVEL_SEPARATOR
from kindred.schemas.query import Filters, Relation
from kindred.schemas.settings import RecallSettings, RelationSettings


def relation_settings(settings: RecallSettings, relation: Relation | None) -> RelationSettings:
    """What is set for a relation; nothing where none is asked for."""
    if relation is None:
        return RelationSettings()
    return settings.relations.get(relation.value, RelationSettings())


def related(settings: RecallSettings, relation: Relation | None) -> RecallSettings:
    """Recall with the relation's own quotas and weights."""
    own = relation_settings(settings, relation).sources
    return (
        msgspec.structs.replace(settings, sources={**settings.sources, **own}) if own else settings
    )


def elsewhere(filters: Filters, category: tuple[str, ...]) -> Filters:
    """The filters without what lies in or below a category path; an empty path changes nothing."""
    if not category:
        return filters
    without = (*(filters.not_categories or ()), category)
    return msgspec.structs.replace(filters, not_categories=without)


def category_path(columns: Columns, row: int) -> tuple[str, ...]:
    """The category path of a row, root first; empty where it has none."""
    depth = int(columns.category_depth[row])
    if depth == 0:
        return ()
    code = int(columns.category[row, depth - 1])
    return tuple(columns.vocabularies["category"].name(code).split(LEVEL_SEPARATOR))
