"""The Complete Journey's shelf labels as words: `SFT DRNK 2 LITER BTL` and `16 OZ`."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORDS = {
    "ACCES": "accessories", "ADLT": "adult", "ASST": "assorted", "BG": "bag", "BKD": "baked",
    "BN": "beans", "BNLS": "boneless", "BRD": "bread", "BRKFST": "breakfast", "BTL": "bottle",
    "BTR": "butter", "BTRY": "battery", "CARB": "carbonated", "CHOC": "chocolate",
    "CHOCOCLATE": "chocolate", "CHSE": "cheese", "CKYS": "cookies", "CLEANG": "cleaning",
    "CNDY": "candy", "CNTRL": "central", "CRKR": "crackers", "CRM": "cream", "CRYSTL": "crystal",
    "DECOR": "decoration", "DEODRNT": "deodorant", "DNRS": "dinners", "DRNK": "drink",
    "DRNKS": "drinks", "DRSNG": "dressing", "DSH": "dish", "ENTREES": "entrees",
    "EX": "except", "FD": "food", "FEM": "feminine", "FLVRD": "flavoured", "FRE": "free",
    "FRSH": "fresh", "FRT": "fruit", "FRZ": "frozen", "FRZN": "frozen", "GDS": "goods",
    "HBC": "health and beauty", "HYGN": "hygiene", "INCL": "including", "JCE": "juice",
    "LNCHMT": "lunchmeat", "LRG": "large", "MISC": "miscellaneous", "MRGRN": "margarine",
    "MX": "mix", "MXS": "mixes", "PK": "pack", "PKGD": "packaged", "PCKGD": "packaged",
    "PKLD": "pickled", "PNT": "peanut", "POTS": "potatoes", "PREM": "premium",
    "PRODS": "products", "PWDR": "powder", "REFRGRATD": "refrigerated", "REFRG": "refrigerated",
    "RFGD": "refrigerated", "SALD": "salad", "SAUCESSALSAPICANTEE": "sauces, salsa, picante",
    "SEAS": "seasonal", "SFT": "soft", "SHERBTS": "sherbets", "SNDWCH": "sandwich",
    "SNGL": "single", "SNKS": "snacks", "SPLY": "supplies", "SPRD": "spread", "SS": "shelf stable",
    "STK": "stick", "SUPPPLIES": "supplies", "SV": "serve", "SW": "sweetened", "TRSH": "trash",
    "VEG": "vegetables", "VEGS": "vegetables", "WHLSM": "wholesome", "WHT": "white",
    "WTR": "water", "YGRT": "yogurt", "BEERALEMALT": "beer, ale, malt", "LIQUORS": "liquors",
}  # fmt: skip

_UNITS = {
    "OZ": "ounces", "FL": "fluid", "CT": "pieces", "LB": "pounds", "ML": "millilitres",
    "L": "litres", "LT": "litres", "PK": "pack", "GAL": "gallon", "GA": "gallon", "QT": "quart",
    "PT": "pint", "IN": "inches", "FT": "feet", "SQ": "square", "DZ": "dozen", "DOZ": "dozen",
    "CTN": "cartons", "PC": "pieces", "STEM": "stems", "LD": "loads", "YD": "yards",
    "CM": "centimetres", "GM": "grams", "MED": "medium", "BTL": "bottle", "Z": "ounces",
}  # fmt: skip

_WORD = re.compile(r"[A-Z]+")


def readable(label: str) -> str:
    """A label in lower case with its abbreviations written out."""
    spaced = re.sub(r"\s*[:/]\s*|\s+-\s*|\s*-\s+", ", ", label)
    told = _WORD.sub(lambda m: _WORDS.get(m[0], m[0].lower()), spaced)
    return " ".join(told.split()).strip(" ,(")


def readable_size(size: str) -> str:
    """A package size with its units written out: `16 OZ` is `16 ounces`."""
    return _WORD.sub(lambda m: _UNITS.get(m[0], m[0].lower()), " ".join(size.split()))


def title_of(labels: Iterable[str | None], size: str | None) -> str:
    """The first label that is there, as a title with the package size."""
    name = next((readable(label) for label in labels if label), "")
    titled = name[:1].upper() + name[1:]
    return ", ".join(part for part in (titled, readable_size(size or "")) if part)
