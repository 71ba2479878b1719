"""What callers ask, and what they get."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta

from kindred.schemas.base import (
    Country,
    Id,
    Latitude,
    Longitude,
    Micros,
    Minor,
    Record,
    check_ids,
)
from kindred.schemas.event import Action, Platform, Role
from kindred.schemas.item import Campaign, Condition, Format, Item, Status, Word
from kindred.schemas.reasons import Explanation

Point = tuple[Latitude, Longitude]
"""(latitude, longitude) in WGS84 degrees."""


class GeoRadius(Record, frozen=True, kw_only=True, tag="radius", tag_field="kind"):
    """Everything within `radius_m` metres of a point."""

    lat: Latitude
    lon: Longitude
    radius_m: Annotated[float, Meta(gt=0, le=20_037_509)]


class GeoBox(Record, frozen=True, kw_only=True, tag="box", tag_field="kind"):
    """A box of latitudes and longitudes; `west` > `east` crosses the antimeridian."""

    north: Latitude
    south: Latitude
    west: Longitude
    east: Longitude

    def __post_init__(self) -> None:
        if self.south > self.north:
            raise ValueError("`south` must not exceed `north`")


class GeoPolygon(Record, frozen=True, kw_only=True, tag="polygon", tag_field="kind"):
    """A simple polygon, not closed, edges straight in degrees."""

    points: Annotated[tuple[Point, ...], Meta(min_length=3, max_length=256)]


Geo = GeoRadius | GeoBox | GeoPolygon
Some = Meta(min_length=1, max_length=256)


class Filters(Record, frozen=True, kw_only=True):
    """Conditions that all hold. Several values of one condition mean any of them.

    A fact that is unknown passes no condition on it, except the negative ones. Prices are compared
    in minor units whatever the currency, bounds included. Times are half-open: after <= t < before.
    A region's edge is outside it. Columns, embedded engine and server agree on all of this.
    """

    categories: Annotated[tuple[tuple[Word, ...], ...], Some] | None = None
    """Category paths or prefixes of them, root first."""
    not_categories: Annotated[tuple[tuple[Word, ...], ...], Some] | None = None
    brands: Annotated[tuple[Word, ...], Some] | None = None
    price_min_minor: Minor | None = None
    price_max_minor: Minor | None = None
    formats: Annotated[tuple[Format, ...], Some] | None = None
    conditions: Annotated[tuple[Condition, ...], Some] | None = None
    sellers: Annotated[tuple[Id, ...], Some] | None = None
    not_sellers: Annotated[tuple[Id, ...], Some] | None = None
    countries: Annotated[tuple[Country, ...], Some] | None = None
    campaigns: Annotated[tuple[Campaign, ...], Some] | None = None
    statuses: Annotated[tuple[Status, ...], Some] = (Status.ACTIVE,)
    created_after: Micros | None = None
    created_before: Micros | None = None
    auction_ends_after: Micros | None = None
    geo: Geo | None = None

    def __post_init__(self) -> None:
        low, high = self.price_min_minor, self.price_max_minor
        if low is not None and high is not None and low > high:
            raise ValueError("`price_min_minor` must not exceed `price_max_minor`")
        for paths in (self.categories, self.not_categories):
            if paths is not None and any(not p for p in paths):
                raise ValueError("a category path must name at least one level")


class Place(Record, frozen=True, kw_only=True):
    """Where the visitor is."""

    lat: Latitude
    lon: Longitude


class Relation(Enum):
    """How items may go with an item."""

    SIMILAR = "similar"
    """They could stand in for it."""
    COMPLEMENT = "complement"
    """They are used or bought along with it."""


class Subject(Record, frozen=True, kw_only=True):
    """Who asks; any of the ids may be absent."""

    user_id: Id | None = None
    device_id: Id | None = None
    session_id: Id | None = None
    role: Role = Role.CUSTOMER

    def __post_init__(self) -> None:
        check_ids(self, "user_id", "device_id", "session_id")


class SessionAction(Record, frozen=True, kw_only=True):
    """One action of a visitor, as the caller tells it."""

    item_id: Id
    action: Action = Action.VIEW
    ts: Micros | None = None
    """When; absent means that the order of the list is the order of time."""


class SimilarRequest(Record, frozen=True, kw_only=True):
    """The widget's question: what goes with this item? Exactly one of `item_id`, `item`."""

    item_id: Id | None = None
    item: Item | None = None
    """An inline item: a cold seed, encoded on the spot."""
    dislike: Annotated[tuple[Id, ...], Meta(max_length=64)] = ()
    """Negative seeds: move away from these."""
    session: Annotated[tuple[SessionAction, ...], Meta(max_length=64)] = ()
    """What the visitor did lately; absent, what the log knows of the subject's last hour."""
    subject: Subject | None = None
    place: Place | None = None
    filters: Filters = Filters()
    k: Annotated[int, Meta(ge=1, le=100)] = 6
    relation: Relation | None = None
    """What the items should be to the seed; absent, whatever people go on to."""
    surface: Annotated[str, Meta(max_length=64)] = "view_item"
    platform: Platform = Platform.WEB
    blend: bool = True
    """False leaves ad rates out of the order."""
    explain: bool = False

    def __post_init__(self) -> None:
        if (self.item_id is None) == (self.item is None):
            raise ValueError("exactly one of `item_id` and `item` is required")


class SessionRecallRequest(Record, frozen=True, kw_only=True):
    """The search team's question: candidates for this session."""

    actions: Annotated[tuple[SessionAction, ...], Meta(max_length=64)] = ()
    """What the visitor did lately; absent, what the log knows of the subject's last hour."""
    subject: Subject | None = None
    place: Place | None = None
    filters: Filters = Filters()
    n: Annotated[int, Meta(ge=1, le=500)] = 100
    sources: Annotated[tuple[str, ...], Some] | None = None
    """Names of the sources to ask; absent means all."""
    exclude_seen: bool = False
    """True leaves the session's own items out."""
    explain: bool = False

    def __post_init__(self) -> None:
        if not self.actions and self.subject is None:
            raise ValueError("one of `actions` and `subject` is required")


class VisitorMerge(Record, frozen=True, kw_only=True):
    """A log-in: the visitor of this device or session is this user.

    What they did here without a user until now belongs to the user's session.
    """

    user_id: Id
    device_id: Id | None = None
    session_id: Id | None = None

    def __post_init__(self) -> None:
        check_ids(self, "user_id", "device_id", "session_id")
        if self.device_id is None and self.session_id is None:
            raise ValueError("one of `device_id` and `session_id` is required")


class SourceScore(Record, frozen=True, kw_only=True):
    """How one recall source found an item: its rank there (1 = first) and its score."""

    rank: int
    score: float


class RankedItem(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One item of an answer."""

    item_id: str
    position: int
    score: float
    """What the order goes by: the blend, or the ranker's, or the merge's score."""
    sponsored: bool = False
    """Where it stands is paid for: by its ad rate, or by the views that its campaign bought."""
    campaign: Campaign | None = None
    """Which of the two, where it is sponsored."""
    probability: float | None = None
    """Calibrated probability of purchase given this list."""
    title: str | None = None
    price_minor: int | None = None
    sources: dict[str, SourceScore] = {}
    explain: Explanation | None = None
    """Why it stands there, with `explain`."""


class BlendCost(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What it cost to leave the order of the probabilities, and what it should earn."""

    ndcg: float
    """NDCG@k of the answer with the probabilities as gains, less 1: 0 where nothing was paid,
    -0.01 where it is one per cent worse."""
    fee_minor: float
    """Expected fees of the answer less those of the order of the probabilities, in the smallest
    unit of the items' currency: probability x ad rate x price of what its rate placed, and the flat
    fee of a view at an auction place."""


class Answer(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A list of items with what it took to make it."""

    decision_id: str
    items: list[RankedItem]
    degraded: list[str] = []
    """Stages that fell back, each with what replaced it."""
    ms: dict[str, float] = {}
    """Milliseconds by stage."""
    versions: dict[str, str] = {}
    """Index and models in use."""
    notes: list[str] = []
    """What a reader must know, such as simulated ad rates."""
    plan: dict[str, dict[str, float | str]] | None = None
    """How each vector space was searched under the filter, with `explain`."""
    left_out: dict[str, int] = {}
    """Candidates that a rule dropped, by rule: `mismatch` is what lies near in content alone, in
    another top category and of another brand."""
    blend_cost: BlendCost | None = None
    """Absent where nothing was blended: no ranker serves, or the deadline left no time."""


class Neighbour(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One neighbour of an item in one vector space."""

    item_id: str
    score: float
    title: str | None = None
    by_space: dict[str, float] = {}
    """Cosine in every space that both items have, with `explain`."""
    differences: dict[str, tuple[str | float | None, str | float | None]] = {}
    """Facts that differ: seed's value, neighbour's value, with `explain`."""
    distance_m: float | None = None
    gates: dict[str, float] = {}
    """What each input counts in the item's hybrid vector, summing to 1, with `explain`; exactly 0
    for an input that the item does not have."""


class Neighbours(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Neighbours of an item."""

    item_id: str
    space: str
    neighbours: list[Neighbour]
    spaces: list[str]
    """Spaces in which the item has a vector."""
    plan: dict[str, float | str] | None = None
    gates: dict[str, float] = {}
    """As of each neighbour, for the item itself."""
