"""What an answer would be under other settings or rules, without anything being changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import UNSET, Meta, UnsetType

from kindred.schemas.base import Record
from kindred.schemas.partial import partial
from kindred.schemas.query import SimilarRequest
from kindred.schemas.rule import Rule
from kindred.schemas.settings import BlendSettings, DiversitySettings, RecallSettings

if TYPE_CHECKING:
    from msgspec import Struct as BlendPart
    from msgspec import Struct as DiversityPart
    from msgspec import Struct as RecallPart
else:
    RecallPart = partial(RecallSettings)
    BlendPart = partial(BlendSettings)
    DiversityPart = partial(DiversitySettings)


class PreviewSettings(Record, frozen=True, kw_only=True):
    """Settings to try, in part: what is absent stays as it is."""

    recall: RecallPart | UnsetType = UNSET
    blend: BlendPart | UnsetType = UNSET
    diversity: DiversityPart | UnsetType = UNSET


class PreviewRequest(Record, frozen=True, kw_only=True):
    """What to try, and on what: exactly one of `request` and `sample`."""

    request: SimilarRequest | None = None
    """One question, as for `/v1/similar`."""
    sample: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """So many of the newest logged decisions are asked again, as of now."""
    settings: PreviewSettings = PreviewSettings()
    rules: Annotated[tuple[Rule, ...], Meta(max_length=1000)] | None = None
    """Rules in the place of all that are in force; absent: these."""

    def __post_init__(self) -> None:
        if (self.request is None) == (self.sample is None):
            raise ValueError("exactly one of `request` and `sample` is required")


class Expected(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What should come of a list, or of all lists. Null where nothing calibrated serves."""

    purchases: float | None = None
    """Sum of the probabilities of what is shown."""
    fee_minor: float | None = None
    """What its ad rates and auction places should earn, in the smallest unit of the currency."""
    ndcg: float | None = None
    """NDCG of what is shown with the probabilities as gains, less 1: 0 is their own order; the
    mean over lists."""


class Placed(Record, frozen=True, kw_only=True, omit_defaults=False):
    """An item and its place, 1 = first."""

    item_id: str
    place: int


class Moved(Record, frozen=True, kw_only=True, omit_defaults=False):
    """An item that both lists show, at other places."""

    item_id: str
    before: int
    after: int


class PreviewedList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One question answered by both."""

    seed: str | None = None
    """The item that it is about."""
    decision_id: str | None = None
    """The logged decision that asked it."""
    moved: list[Moved] = []
    entered: list[Placed] = []
    """Only the proposed list shows them."""
    left: list[Placed] = []
    """Only the current list shows them."""
    current: Expected = Expected()
    proposed: Expected = Expected()
    degraded: list[str] = []
    """Stages that fell back in either."""


class Preview(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Current against proposed."""

    questions: int
    """Compared."""
    changed: int
    """Questions whose list differs."""
    current: Expected
    """Summed over the questions."""
    proposed: Expected
    lists: list[PreviewedList]
    """Those that differ most first, at most 20."""
    left_out: dict[str, int] = {}
    """Sampled decisions that were not compared, by reason."""
    versions: dict[str, str] = {}
    notes: list[str] = []
