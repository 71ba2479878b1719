"""The words that listings are written with: style words, brand and series names, phrases."""

from __future__ import annotations

from collections.abc import Mapping

STYLE_WORDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("modern", "contemporary", "sleek"), ("vintage", "retro", "antique")),
    (("minimalist", "simple", "clean"), ("ornate", "decorated", "detailed")),
    (("rustic", "farmhouse", "country"), ("industrial", "urban", "loft")),
    (("bold", "striking", "loud"), ("subtle", "understated", "discreet")),
    (("sporty", "casual", "relaxed"), ("elegant", "refined", "graceful")),
    (("chunky", "heavy", "massive"), ("slim", "slender", "light")),
    (("rounded", "curved", "soft"), ("angular", "geometric", "straight")),
    (("glossy", "shiny", "polished"), ("matte", "brushed", "muted")),
    (("bohemian", "boho", "folk"), ("classic", "traditional", "timeless")),
    (("playful", "fun", "quirky"), ("serious", "professional", "formal")),
    (("compact", "small", "space-saving"), ("large", "roomy", "oversized")),
    (("handmade", "artisan", "handcrafted"), ("designer", "luxury", "high-end")),
    (("scandinavian", "nordic", "danish"), ("mediterranean", "italian", "french")),
    (("patterned", "printed", "striped"), ("plain", "unpatterned", "monochrome")),
    (("romantic", "delicate", "floral"), ("rugged", "tough", "robust")),
    (("smart", "clever", "technical"), ("natural", "organic", "earthy")),
)
"""For each style dimension, what people say at its positive and at its negative end."""

BRAND_STARTS = (
    "Nor", "Hal", "Lum", "Var", "Bel", "Kest", "Tor", "Mar", "Sol", "Fen", "Dal", "Rav", "Cor",
    "Ald", "Vin", "Bren", "Os", "Tal", "Wes", "Pel", "Gar", "Lind", "Mor", "Est", "Ul", "Jor",
)  # fmt: skip
BRAND_ENDS = ("vik", "den", "ano", "ett", "ria", "mont", "field", "berg", "ora", "well", "ex")
"""Brands are made of one of each: coined, so that none is meant."""

SERIES = (
    "Aura", "Drift", "Kestrel", "Harbor", "Willow", "Ember", "Summit", "Velo", "Echo", "Juno",
    "Pine", "Atlas", "Breeze", "Cobalt", "Dune", "Fjord", "Grove", "Haven", "Iris", "Jasper",
    "Karma", "Luna", "Meadow", "Nova", "Onyx", "Prairie", "Quartz", "Ridge", "Sable", "Tempo",
    "Umbra", "Vista", "Wren", "Yara", "Zephyr", "Bolt", "Cinder", "Delta", "Falcon", "Glide",
)  # fmt: skip

SIZES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "clothes": ("size", ("size XS", "size S", "size M", "size L", "size XL", "size XXL")),
    "shoes": ("size", tuple(f"size {n}" for n in range(5, 13))),
    "gb": ("storage_gb", ("64 GB", "128 GB", "256 GB", "512 GB")),
    "inch": ("size_inch", ("13 inch", "14 inch", "16 inch", "24 inch", "27 inch")),
    "volt": ("voltage", ("12 V", "18 V", "20 V", "36 V")),
    "age": ("age_from", ("0+", "1+", "3+", "5+", "8+")),
    "frame": ("frame_cm", ("50 cm frame", "54 cm frame", "58 cm frame", "62 cm frame")),
    "persons": ("persons", ("2 person", "3 person", "4 person", "6 person")),
    "year": ("year", tuple(str(y) for y in range(1962, 2024, 3))),
    "millilitre": ("volume_ml", ("30 ml", "50 ml", "75 ml", "100 ml")),
}
"""Kind of size -> the attribute's name, and how people write it. `cm` and `litre` are measured."""

CONDITION_WORDS: Mapping[str, tuple[str, ...]] = {
    "new": ("new", "brand new", "unused", "new with tags"),
    "refurbished": ("refurbished", "renewed", "restored"),
    "used": ("used", "good condition", "second hand", "pre-owned", "well kept"),
    "parts": ("for parts", "not working", "needs repair"),
}

WORN = ("Some scratches, see pictures.", "Shows signs of wear.", "A bit worn but does its job.")
FINE = ("Very well kept.", "Hardly used, like new.", "No scratches at all.", "No faults.")
PLAIN = ("Basic quality.", "Our budget line.", "Simple workmanship.")
SOLID = ("Excellent quality.", "Built to last.", "Award-winning workmanship.")
BAIT = (
    "You will not find a better deal!", "Must see!", "Last chance, gone soon!",
    "Everybody wants this one!", "Unbelievable price!",
)  # fmt: skip
BAIT_TITLE = ("WOW", "MUST SEE", "RARE", "BEST PRICE", "LOOK", "HOT DEAL")
TERSE = ("", "", "as in the picture", "see photos", "ask me", "works", "no description")
REASONS = (
    "Selling because we are moving.", "Bought it last year and never really used it.",
    "It was a gift, but not my taste.", "Clearing out the attic.", "Upgraded to another one.",
    "No longer needed.",
)  # fmt: skip
COLLECT = (
    "Pick up only.", "Can be shipped.", "Pick up in the evening or at the weekend.",
    "Cash on collection.", "Shipping at the buyer's expense.",
)  # fmt: skip
SHOP = (
    "In stock, dispatched within a day.", "Two years of warranty.", "Thirty days to return it.",
    "Invoice included.", "Straight from our warehouse.",
)  # fmt: skip
