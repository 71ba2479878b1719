"""Request bodies, decoded strictly and once.

Litestar's own path decodes to plain values, converts them leniently ("5" for 5) and loses the path
of the field at fault; these decoders go from bytes to Structs in one pass.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from litestar.dto import AbstractDTO, DTOConfig
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.exceptions import HTTPException
from litestar.typing import FieldDefinition

from kindred.api.problems import as_input_error
from kindred.schemas.base import Record
from kindred.schemas.errors import InputError
from kindred.schemas.faults import decode
from kindred.schemas.item import Item
from kindred.schemas.outcome import RowError
from kindred.schemas.query import Filters
from kindred.schemas.rule import Rule

T = TypeVar("T")
_BROKEN = (msgspec.DecodeError, ValueError, RecursionError)
"""What decoding raises: msgspec's errors, UnicodeDecodeError, nesting without end."""


class UnsupportedMediaType(HTTPException):
    """A body that is not declared as JSON."""

    status_code = 415


class StrictJSON(AbstractDTO[T], Generic[T]):
    """A body of exactly the model's JSON: `dto=StrictJSON[Model]` with `return_dto=None`."""

    config: ClassVar[DTOConfig] = DTOConfig()
    decoder: ClassVar[msgspec.json.Decoder[Any]]

    def __class_getitem__(cls, model: Any) -> Any:
        """A decoder class for one model."""
        if isinstance(model, TypeVar):
            return cls
        return type(
            f"StrictJSON[{model.__name__}]",
            (cls,),
            {"model_type": model, "decoder": msgspec.json.Decoder(model)},
        )

    def decode_bytes(self, value: bytes) -> Any:
        """The model; InputError carries the path of the field at fault."""
        kind = self.asgi_connection.headers.get("content-type", "").partition(";")[0].strip()
        if kind.lower() != "application/json":
            raise UnsupportedMediaType("send the header `Content-Type: application/json`")
        try:
            return decode(self.decoder, value)
        except _BROKEN as error:
            raise as_input_error(error) from error

    @classmethod
    def create_for_field_definition(cls, *_: Any, **__: Any) -> None:
        """Nothing to prepare: there is no transfer model."""

    @classmethod
    def create_openapi_schema(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,  # noqa: ARG003
        schema_creator: Any,
    ) -> Any:
        """The model's own schema."""
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(
        cls,
        model_type: type[Any],  # noqa: ARG003
    ) -> Generator[DTOFieldDefinition, None, None]:
        """No transfer model, no fields."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:  # noqa: ARG003
        """No transfer model, no nesting."""
        return False


class ItemBatch(Record, frozen=True, kw_only=True):
    """Items to write. Each row is judged alone: a bad one is answered in `rejected`."""

    items: Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(min_length=1)]


class EventBatch(Record, frozen=True, kw_only=True):
    """Events to log. Each row is judged alone: a bad one is answered in `rejected`."""

    events: Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(min_length=1)]


class RuleBatch(Record, frozen=True, kw_only=True):
    """Rules to write. Each is judged alone: a bad one is answered in `rejected`."""

    rules: Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(min_length=1)]


_item = msgspec.json.Decoder(Item)
_rule = msgspec.json.Decoder(Rule)
_filters = msgspec.json.Decoder(Filters)


def decode_filters(text: str | None) -> Filters:
    """Filters from a query parameter; InputError carries a path behind `query.filters`."""
    if text is None:
        return Filters()
    try:
        return _filters.decode(text)
    except _BROKEN as error:
        raise as_input_error(error, "query.filters") from error


def decode_items(batch: ItemBatch) -> tuple[list[Item], list[int], list[RowError]]:
    """(good items, their places in the batch, errors of the others)."""
    return _one_by_one(_item, batch.items, "items")


def decode_rules(batch: RuleBatch) -> tuple[list[Rule], list[int], list[RowError]]:
    """(good rules, their places in the batch, errors of the others)."""
    return _one_by_one(_rule, batch.rules, "rules")


def all_refused(
    refused: Sequence[RowError], places: Sequence[int], undecoded: Sequence[RowError]
) -> list[RowError]:
    """Errors of a batch of rules by place; those `refused` name places among the good ones and
    paths behind a rule.
    """
    placed = [
        RowError(
            index=(at := places[row.index]), path=f"$.rules[{at}]{row.path}", reason=row.reason
        )
        for row in refused
    ]
    return sorted([*placed, *undecoded], key=lambda row: row.index)


def _one_by_one(
    decoder: msgspec.json.Decoder[T], rows: Sequence[msgspec.Raw], what: str
) -> tuple[list[T], list[int], list[RowError]]:
    good: list[T] = []
    places: list[int] = []
    errors: list[RowError] = []
    for index, raw in enumerate(rows):
        try:
            good.append(decoder.decode(raw))
            places.append(index)
        except _BROKEN as error:
            fault = as_input_error(error, f"$.{what}[{index}]")
            errors.append(RowError(index=index, path=fault.path, reason=fault.message))
    return good, places, errors


def check_batch(count: int, limit: int, what: str = "items") -> None:
    """Raise InputError for more rows than one request may hold."""
    if count > limit:
        raise InputError(f"at most {limit} {what} in one request, this has {count}", f"$.{what}")
