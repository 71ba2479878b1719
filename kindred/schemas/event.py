"""What a person did (SPEC §3.2)."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta

from kindred.schemas.base import TRACEPARENT, Country, Id, Micros, Minor, Record, check_id


class Action(Enum):
    """The 22 actions; their order is their code in columns, so new ones go at the end."""

    IMPRESSION = "impression"
    INVIEW = "inview"
    CLICK = "click"
    VIEW = "view"
    SHOW_INTEREST = "show_interest"
    FOLLOW_SELLER = "follow_seller"
    FAVOURITE = "favourite"
    WATCH = "watch"
    SEND_MESSAGE = "send_message"
    SHOW_PHONE = "show_phone"
    CONTACT_SELLER = "contact_seller"
    ADD_TO_CART = "add_to_cart"
    MAKE_OFFER = "make_offer"
    BUY_NOW = "buy_now"
    PLACE_BID = "place_bid"
    PURCHASE = "purchase"
    SEARCH = "search"
    CATEGORY_VIEW = "category_view"
    CONTENT_VIEW = "content_view"
    CONTENT_CLICK = "content_click"
    DWELL = "dwell"
    DISMISS = "dismiss"

    # Members are single objects: Enum's own hash, in Python, is felt at every event.
    __hash__ = object.__hash__


ACTIONS: tuple[Action, ...] = tuple(Action)
ACTION_CODE: dict[str, int] = {a.value: i for i, a in enumerate(ACTIONS)}


class EntityKind(Enum):
    """What an action was done to."""

    ITEM = "item"
    QUERY = "query"
    CATEGORY = "category"
    SHOP = "shop"
    CONTENT = "content"


_ITEM, _CONTENT = EntityKind.ITEM, EntityKind.CONTENT
ENTITY_KINDS: dict[Action, tuple[EntityKind, ...]] = {
    **dict.fromkeys(Action, (_ITEM,)),
    **dict.fromkeys((Action.IMPRESSION, Action.INVIEW), (_ITEM, _CONTENT)),
    **dict.fromkeys((Action.DWELL, Action.DISMISS), (_ITEM, _CONTENT)),
    **dict.fromkeys((Action.CONTENT_VIEW, Action.CONTENT_CLICK), (_CONTENT,)),
    Action.FOLLOW_SELLER: (EntityKind.SHOP, _ITEM),
    Action.SEARCH: (EntityKind.QUERY,),
    Action.CATEGORY_VIEW: (EntityKind.CATEGORY,),
}
"""Kinds of entity that an action can be done to."""


class Role(Enum):
    """Who acts (SPEC L1)."""

    CUSTOMER = "customer"
    CONSULTANT = "consultant"
    RECRUITER = "recruiter"


class Platform(Enum):
    """Where they act."""

    WEB = "web"
    APP = "app"


class Event(Record, frozen=True, kw_only=True):
    """One action. At least one of user, device and session says who acted."""

    event_id: Id
    occurred_at: Micros
    action: Action
    entity_id: Id
    entity_kind: EntityKind = EntityKind.ITEM
    user_id: Id | None = None
    device_id: Id | None = None
    session_id: Id | None = None
    logged_in: bool = False
    role: Role = Role.CUSTOMER
    platform: Platform = Platform.WEB
    text: Annotated[str, Meta(max_length=512)] | None = None
    """The words of a search."""
    surface: Annotated[str, Meta(max_length=64)] | None = None
    decision_id: Id | None = None
    position: Annotated[int, Meta(ge=0, le=255)] | None = None
    """Where the item stood in the answer, as the answer says: 1 is first."""
    traceparent: Annotated[str, Meta(pattern=TRACEPARENT)] | None = None
    country: Country | None = None
    postcode: Annotated[str, Meta(max_length=16)] | None = None
    value_minor: Minor | None = None
    dwell_ms: Annotated[int, Meta(ge=0, lt=2**31)] | None = None

    def __post_init__(self) -> None:
        check_id(self.event_id, "event_id")
        check_id(self.entity_id, "entity_id")
        if self.user_id is not None:
            check_id(self.user_id, "user_id")
        if self.device_id is not None:
            check_id(self.device_id, "device_id")
        if self.session_id is not None:
            check_id(self.session_id, "session_id")
        if self.decision_id is not None:
            check_id(self.decision_id, "decision_id")
        if self.user_id is None and self.device_id is None and self.session_id is None:
            raise ValueError("one of `user_id`, `device_id`, `session_id` is required")
        if self.entity_kind not in ENTITY_KINDS[self.action]:
            raise ValueError(kind_reason(self.action))


def kind_reason(action: Action) -> str:
    """What is wrong with an event whose entity is of a kind that `action` is not done to."""
    named = " or ".join(kind.value for kind in ENTITY_KINDS[action])
    return f"`{action.value}` is done to an `entity_kind` of {named}"
