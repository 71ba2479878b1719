"""How simulated visitors behave: every knob with its unit and the reason for its default.

No default was fitted to a real market. They are set by hand so that clicks, actions and purchases
have the proportions that one would expect: some four clicks in a hundred impressions, a purchase
in some twenty clicks, and outcomes that positions, promises and tiredness all bend.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kindred.schemas.settings import NonNegative, Settings, Share

Above0 = Annotated[float, Meta(gt=0)]


class VisitorKnobs(Settings, frozen=True, kw_only=True):
    """Who visits, how often, and what they are after."""

    account_share: Share = 0.65
    """Share of visitors with an account. Two in three leave a third of the traffic anonymous."""
    logged_in_share: Share = 0.85
    """Share of an account holder's visits that are logged in. The others carry the device alone,
    so that there is something to merge."""
    app_share: Share = 0.5
    """Share of visitors who use the app; the others the web. Half and half measures both well."""
    activity_power: NonNegative = 0.6
    """Visits of the n-th most active visitor are in proportion to n^-power. Few visit daily, most
    hardly ever, and nobody makes a tenth of the traffic alone."""
    taste_leaves: Annotated[int, Meta(ge=1, le=16)] = 4
    """Leaf categories of a visitor's taste, the second half as likely as the first and so on."""
    taste_share: Share = 0.8
    """Share of visits whose intent lies in the taste. The rest are gifts and new hobbies, on which
    a long history misleads."""
    taste_pull: NonNegative = 0.7
    """Weight of the visitor's own style in an intent, relative to the category's centre (1)."""
    intent_noise: NonNegative = 0.4
    """Weight of what is particular to the visit. Under the taste's, so that history helps, and not
    small, so that the session says more than the history."""
    drift: NonNegative = 0.12
    """How far the intent moves with each page. Over a visit of ten pages it turns by about as much
    as the visit's own part of it."""
    price_sigma: NonNegative = 0.45
    """Spread of what visitors spend: standard deviation of the logarithm of their price level,
    relative to a category's median. As wide as the prices within a category."""
    begin_item: NonNegative = 0.35
    """Weight of visits that begin at a listing (a link, a search engine)."""
    begin_search: NonNegative = 0.45
    """Weight of visits that begin with a search. The usual way into a marketplace."""
    begin_category: NonNegative = 0.2
    """Weight of visits that begin at a category."""
    continue_share: Share = 0.8
    """Chance of going on to a clicked item's own page of similar items."""
    retry_share: Share = 0.45
    """Chance of searching again where nothing was clicked. With the one above, a visit has about
    three pages."""
    page_seconds: Above0 = 45.0
    """Median time from one page to the next. With the spread below, a third wait over a minute."""
    page_sigma: NonNegative = 0.8
    """Spread of that time: standard deviation of its logarithm."""


class AttractionKnobs(Settings, frozen=True, kw_only=True):
    """What is looked at, and what is clicked."""

    web_examination: NonNegative = 0.6
    """Examination of rank r on the web: r^-power. Several items fit a screen."""
    app_examination: NonNegative = 0.9
    """The same in the app: steeper, one column on a small screen."""
    bias: float = -0.9
    """Log odds that an examined item of average appeal in the right category is clicked. With the
    examination above it makes a few clicks in a hundred impressions."""
    style: NonNegative = 1.1
    """Log odds for one standard deviation of fit between listing and intent, within a category.
    The largest part: it is what similar items are asked for."""
    quality: NonNegative = 0.5
    """Log odds for one standard deviation of quality, as a picture and a text show it."""
    clickbait: NonNegative = 1.5
    """Log odds that a promise adds. Enough to rise to the top of what is sorted by clicks."""
    price: NonNegative = 0.9
    """Log odds lost for each unit of the logarithm of price over what the visitor spends."""
    travel: NonNegative = 0.25
    """Log odds lost for each unit of ln(1 + km / 20). 100 km of travel cost nearly half
    a standard deviation of style: near is better, and not all."""
    fatigue: NonNegative = 0.28
    """The chance of a click falls by e^-fatigue with each time that the visitor looked at the item
    and passed it (SPEC M3)."""
    inview_share: Share = 1.0
    """Share of examined items whose event `inview` is sent. Clients that watch the screen send
    them all; lower it to make a log smaller."""


class ActionKnobs(Settings, frozen=True, kw_only=True):
    """What follows a view, and what ends in a purchase.

    Rates are for a view of average worth; they rise and fall with the fit, never with the promise.
    """

    watch: Share = 0.10
    """Watching or favouriting, any listing: the cheapest thing to do."""
    message: Share = 0.03
    """A message, or a contact in the app: for used goods with open questions."""
    cart: Share = 0.10
    """Adding a buy-now listing to the cart."""
    buy_now: Share = 0.03
    """Pressing buy-now on such a listing."""
    offer: Share = 0.10
    """Making an offer where offers are taken: as usual there as the cart is elsewhere."""
    bid: Share = 0.20
    """Bidding at an auction: the only way to buy there, and it binds to little at first."""
    letdown: NonNegative = 2.5
    """Log odds that clickbait loses once it is seen whole. More than the promise gained."""
    purchase_watch: Share = 0.05
    """P(purchase | watched). The purchase rates differ by action, in the order that the grades
    name (SPEC B8), and an action's frequency runs the other way."""
    purchase_message: Share = 0.12
    """P(purchase | wrote or called)."""
    purchase_bid: Share = 0.15
    """P(purchase | bid): auctions have several bidders."""
    purchase_cart: Share = 0.22
    """P(purchase | in the cart): most carts are left."""
    purchase_offer: Share = 0.32
    """P(purchase | offered): a third of offers are agreed on."""
    purchase_buy_now: Share = 0.85
    """P(purchase | pressed buy-now): payments fail, people hesitate."""
    purchase_view: Share = 0.002
    """P(purchase | only viewed): bought later without a trace of how."""
    hours_watch: Above0 = 40.0
    """Median hours from watching to the purchase. Days: this is what long windows are for."""
    hours_message: Above0 = 20.0
    """Median hours from the first message to the purchase."""
    hours_bid: Above0 = 24.0
    """Median hours from the bid to the auction's end."""
    hours_cart: Above0 = 0.4
    """Median hours from the cart to the purchase."""
    hours_offer: Above0 = 8.0
    """Median hours from the offer to the agreement."""
    hours_buy_now: Above0 = 0.01
    """Median hours of a payment: half a minute."""
    hours_view: Above0 = 12.0
    """Median hours to a purchase without an action."""
    delay_sigma: NonNegative = 1.1
    """Spread of all delays: standard deviation of their logarithm. One in twenty takes six times
    as long as the median."""
    same_visit_minutes: NonNegative = 30.0
    """A purchase that comes later belongs to another visit (and session id)."""
    lost_decision: Share = 0.15
    """Share of purchases in the same visit that do not name the decision they came of. Checkouts
    are other systems, and forget."""
    kept_decision: Share = 0.4
    """Share of purchases in a later visit that do name it, as from a watch list."""
    trace_only: Share = 0.03
    """Share of clicks, and what follows them, that carry the trace but no decision id."""
    dwell_seconds: Above0 = 18.0
    """Median time on a listing of average worth; half of it on a worthless one, half more on the
    best."""


class BehaviourKnobs(Settings, frozen=True, kw_only=True):
    """Visitors of the simulated market: who they are, what attracts them, what they do."""

    visitors: VisitorKnobs = VisitorKnobs()
    attraction: AttractionKnobs = AttractionKnobs()
    actions: ActionKnobs = ActionKnobs()
