"""Item ids in addresses: any characters, percent-encoded, slashes too."""

from __future__ import annotations

from urllib.parse import unquote

from litestar.types import Scope

from kindred.schemas.base import MAX_ID_BYTES
from kindred.schemas.errors import UnknownItem

ITEMS = "/v1/items/"


def keep_encoded(scope: Scope) -> None:
    """Route an item's address by its encoded form, in which an id's `/` is `%2F`.

    Servers hand over the decoded path, where a slash in an id looks like one between segments.
    """
    raw = scope.get("raw_path")
    if raw and scope["path"].startswith(ITEMS):
        scope["path"] = raw.partition(b"?")[0].decode("latin-1")


def item_id_of(segment: str) -> str:
    """The id behind a path segment; UnknownItem for what no id can be."""
    try:
        item_id = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise UnknownItem(segment, "path.item_id") from None
    if len(item_id.encode()) > MAX_ID_BYTES or "\0" in item_id:
        raise UnknownItem(item_id[:MAX_ID_BYTES], "path.item_id")
    return item_id
