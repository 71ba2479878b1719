"""What the simulated market is like: every knob with its unit and the reason for its default.

No default was fitted to a real market; they are set by hand to make a market in which there is
something to find, something to mistake, and something that no method can know.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kindred.schemas.settings import NonNegative, Positive, Settings, Share

Factor = Annotated[float, Meta(ge=1)]
Above0 = Annotated[float, Meta(gt=0)]


class MarketKnobs(Settings, frozen=True, kw_only=True):
    """The catalogue: what is for sale, by whom, where, and how it is described."""

    items: Positive = 20_000
    """Listings in all, those that appear during the simulation included. Enough for some three
    hundred in each leaf category, and made in seconds."""
    days: Annotated[float, Meta(gt=0)] = 14.0
    """Days of the simulation, over which new listings appear. Two weeks show both halves of a
    train/test split every day of the week."""
    stock_share: Share = 0.6
    """Share of the listings that stand there when the simulation starts. The rest arrive later, so
    that two in five are cold at some time."""
    unique_days: Above0 = 40.0
    """Days until a second-hand listing at a fixed price expires, unless it sells before. Between
    the 30 and 60 days that such sites give."""
    stock_days: Above0 = 120.0
    """Days until a listing of new goods expires. A season."""

    style_size: Annotated[int, Meta(ge=2, le=16)] = 16
    """Dimensions of the style space, each with its own pair of words, of which there are 16."""
    leaf_weight: NonNegative = 1.0
    """Pull of its category's centre on a listing's style; the other two are relative to it."""
    brand_weight: NonNegative = 0.5
    """Pull of the brand. Half the category's: brands are told apart within a category only."""
    own_weight: NonNegative = 0.8
    """Pull of what is the listing's own. Less than the category's, so that categories cohere, and
    more than the brand's, so that neighbours are not simply all of one brand."""

    states: tuple[str, ...] = ("CT", "MA", "ME", "NH", "NJ", "NY", "PA", "RI", "VT")
    """States whose postcodes are places, of the US table in the package `zipcodes`. The north-east
    has both a large city and wide country. Empty takes all. Not used with a file of postcodes."""
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")] = "US"
    """Country that listings state, ISO 3166-1."""
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "USD"
    """Currency of prices, ISO 4217. Amounts are the same in any: nothing is converted."""
    density_km: Above0 = 15.0
    """Radius in km within which postcodes are counted. A city and its near suburbs."""
    density_power: NonNegative = 0.5
    """Power of that count in a place's weight. Postcodes are dense where people are, which counts
    once already because each is a place; the power adds that a city's postcode also holds more
    people than a village's. A proxy for population, not a census."""
    detour: Factor = 1.3
    """Road km per great-circle km. Between 1.2 and 1.4 is usual for road networks."""
    regions: Positive = 24
    """Regions into which places are grouped. About the number of commuting areas in that part of
    the country."""
    barrier_share: Share = 0.35
    """Share of the borders between neighbouring regions that cost extra. Enough that distance
    alone misleads often, few enough that one can get about."""
    barrier_km: NonNegative = 60.0
    """Extra km of crossing such a border (a bay, a range of hills, a bridge with a toll). An hour
    by car, more than people drive for most things."""

    sellers_per_item: Annotated[float, Meta(gt=0, le=1)] = 0.3
    """Sellers as a share of listings. Half of them have one or two things, few have hundreds."""
    seller_power: NonNegative = 0.9
    """Exponent of the power law of seller sizes: the n-th sells in proportion to n^-power."""
    dealer_share: Share = 0.1
    """Share of sellers that are dealers, the largest ones. New goods come from them alone."""
    seller_tops: Positive = 2
    """Top categories in which a dealer mostly sells."""
    dealer_pls_share: Share = 0.35
    """Share of dealers that pay per sale (PLS). With PLX about half of them advertise: enough
    promoted candidates in every answer for the blend to have a choice."""
    dealer_plx_share: Share = 0.12
    """Share of dealers with an auction campaign (PLX). It needs a budget: fewer have one."""
    private_pls_share: Share = 0.1
    """Share of private sellers that pay per sale. They rarely bother."""
    ad_rate_bp: Positive = 600
    """Median ad rate of PLS sellers in basis points of the price. Marketplaces suggest 2 % to
    15 %."""
    ad_rate_sigma: NonNegative = 0.5
    """Spread of ad rates: standard deviation of their logarithm. Half of them lie between 430 and
    840 bp."""

    unique_bias: NonNegative = 1.0
    """Factor on each category's share of second-hand, unique goods, capped at 1. The categories'
    own shares run from 20 % (toiletries) to 95 % (records)."""
    auction_share: Share = 0.15
    """Share of unique listings sold by auction. More in categories for collectors, fewer in others,
    and this on average."""
    offer_share: Share = 0.4
    """Share of unique buy-now listings that also take offers. Second-hand prices are haggled
    over."""
    stock_offer_share: Share = 0.1
    """The same share of new goods. Shops seldom haggle."""
    price_sigma: NonNegative = 0.45
    """Spread of prices within a category: standard deviation of the logarithm, before quality,
    brand and condition. The middle two thirds span a factor of 2.5."""
    quality_price: NonNegative = 0.15
    """Rise of the log price for one standard deviation of quality. Small: a good price for good
    quality exists, and is worth finding."""
    clickbait_share: Share = 0.08
    """Share of listings that promise more than they hold: clicked more, bought less. One in twelve
    is felt in every list of results, without making clicks worthless."""

    brand_gap: Share = 0.25
    """Share of second-hand listings that do not state the brand (new ones: a quarter of that)."""
    attribute_gap: Share = 0.4
    """Chance that a given attribute is left out, colour and material included; new goods half."""
    location_gap: Share = 0.05
    """Share of listings without coordinates: a postcode alone. Old feeds have some."""
    picture_share: Share = 0.9
    """Share of listings with a picture. Marketplaces all but demand one."""
    misfiled_share: Share = 0.03
    """Share of listings filed under a neighbouring category. The truth keeps the right one."""
    wrong_word_share: Share = 0.04
    """Share of titles with the wrong word for what it is, and, drawn apart, of texts with the
    wrong colour. People err; an encoder that believes every word errs with them."""
    typo_share: Share = 0.1
    """Share of titles with a slip of the keyboard in one word. Seen, but not in most."""
    caps_share: Share = 0.05
    """Share of titles IN CAPITALS (clickbait: five times that)."""
    title_adjectives: NonNegative = 1.5
    """Mean number of style words in a title (Poisson, at most 5). Titles are short: style must be
    recoverable from words in part, not whole."""
    description_adjectives: NonNegative = 3.0
    """Mean number of style words in a description that is longer than a line."""
    terse_share: Share = 0.3
    """Share of listings with no description, or one of a few words."""
    style_temperature: Above0 = 0.1
    """How freely style words are chosen: near 0 always those of the strongest dimensions, at 1 and
    above nearly any. In style units; less than half of a dimension's usual size (0.25), so that
    most words tell and some mislead."""
