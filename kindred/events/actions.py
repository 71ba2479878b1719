"""Which listing formats allow an action, and what it counts for in the join.

SPEC B7 (formats), B8 (grades), §3.2 (contracts).
"""

from __future__ import annotations

from collections.abc import Mapping

from kindred.schemas.event import Action
from kindred.schemas.item import FormatBits

FORMATS: Mapping[Action, FormatBits] = {
    Action.ADD_TO_CART: FormatBits.BUY_NOW,
    Action.BUY_NOW: FormatBits.BUY_NOW,
    Action.MAKE_OFFER: FormatBits.BEST_OFFER,
    Action.PLACE_BID: FormatBits.AUCTION,
}
"""Format that a listing must have for the action to be possible; other actions go with any."""

PRICED: tuple[Action, ...] = (*FORMATS, Action.PURCHASE)
"""Actions whose event keeps the listing's formats, seller and ad rate of the time."""

GRADES: Mapping[Action, int] = {
    Action.CLICK: 1,
    Action.VIEW: 1,
    Action.WATCH: 2,
    Action.FAVOURITE: 2,
    Action.ADD_TO_CART: 3,
    Action.MAKE_OFFER: 4,
    Action.SEND_MESSAGE: 4,
    Action.SHOW_PHONE: 4,
    Action.CONTACT_SELLER: 4,
    Action.BUY_NOW: 5,
    Action.PURCHASE: 6,
}
"""Grade of an impression by the best that came of it; 0 is nothing.

Bids do not count (B7). Where no purchase is seen, as in classifieds, a contact is the nearest to
one that there is (F6): it counts like an offer."""

PASSIVE: tuple[Action, ...] = (Action.IMPRESSION, Action.INVIEW)
"""What is done to a visitor rather than by one: no part of a session."""
