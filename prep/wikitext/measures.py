"""Numbers, units and dates that templates write: `{{convert|5|km}}` is shown as "5 km"."""

from prep.wikitext.arguments import Arguments

__all__ = ["as_of", "convert", "fraction", "value"]

# Between the numbers of a range: what `convert` calls it -> what it shows.
_RANGES = {
    **dict.fromkeys(("-", "\u2013"), "\u2013"),
    **dict.fromkeys(("to", "to(-)"), " to "),
    **dict.fromkeys(("and", "&"), " and "),
    **dict.fromkeys(("x", "xx", "*", "\u00d7"), " \u00d7 "),
    **dict.fromkeys(("+/-", "\u00b1"), " \u00b1 "),
    "or": " or ",
    "by": " by ",
    "to about": " to about ",
    "+": " + ",
    ",": ", ",
}
# What `convert` calls a unit -> what it shows; others are shown as they are called.
_UNITS = {
    "sqmi": "sq mi", "sqft": "sq ft", "sqyd": "sq yd", "sqin": "sq in", "cuft": "cu ft",
    "cuyd": "cu yd", "cuin": "cu in", "cumi": "cu mi", "km2": "km\u00b2", "m2": "m\u00b2",
    "cm2": "cm\u00b2", "mm2": "mm\u00b2", "km3": "km\u00b3", "m3": "m\u00b3", "cm3": "cm\u00b3",
    "c": "\u00b0C", "f": "\u00b0F", "c-change": "\u00b0C", "f-change": "\u00b0F",
    "usgal": "US gal", "impgal": "imp gal", "oilbbl": "bbl", "kg/m3": "kg/m\u00b3",
    "g/cm3": "g/cm\u00b3", "/km2": "/km\u00b2", "/sqmi": "/sq mi", "pd/km2": "/km\u00b2",
    "pd/sqmi": "/sq mi", "m/s2": "m/s\u00b2",
}  # fmt: skip
_MINUS = str.maketrans("-", "\u2212")
# A second unit that goes on with the first: 6 ft 2 in.
_SMALLER = {"ft": "in", "yd": "ft", "mi": "yd", "lb": "oz", "st": "lb", "long ton": "long cwt"}
_MONTHS = (
    "January February March April May June July August September October November December"
).split()


def convert(arguments: Arguments) -> str:
    """`convert`, `cvt`: the measure as it was given, without its conversions."""
    words = list(arguments.positional)
    shown = _number(words.pop(0)) if words else ""
    while len(words) >= 2 and words[0].lower() in _RANGES:
        shown += _RANGES[words[0].lower()] + _number(words[1])
        del words[:2]
    if not words:
        return shown
    unit = words[0].lower()
    shown = _with_unit(shown, words[0])
    if len(words) >= 3 and _SMALLER.get(unit) == words[2].lower() and _is_number(words[1]):
        shown += " " + _with_unit(_number(words[1]), words[2])
    return shown


def value(arguments: Arguments) -> str:
    """`val`: a number with its uncertainty, power of ten and unit."""
    shown = arguments.at(1)
    if plus_minus := arguments.at(2):
        shown += f" \u00b1 {plus_minus}"
    if power := arguments.first("e"):
        shown += f"\u00d710{power.translate(_MINUS)}"
    unit = arguments.first("u", "ul", "up", "upl")
    return _with_unit(shown, unit) if unit else shown


def fraction(arguments: Arguments) -> str:
    """`frac`, `sfrac`: 1/2, or 3 1/2."""
    numbers = [part for part in arguments.positional if part]
    if len(numbers) == 1:
        return f"1/{numbers[0]}"
    return " ".join((*numbers[:-2], "/".join(numbers[-2:])))


def as_of(arguments: Arguments) -> str:
    """`as of`: As of 5 April 2014."""
    if text := arguments.first("alt"):
        return text
    year, month, day = (arguments.at(n) for n in (1, 2, 3))
    if month.isdigit() and 1 <= int(month[:3]) <= 12:
        month = _MONTHS[int(month[:3]) - 1]
    start = "as" if arguments.first("lc") else "As"
    if arguments.first("since"):
        start = "since" if arguments.first("lc") else "Since"
        return " ".join(part for part in (start, day, month, year) if part)
    return " ".join(part for part in (start, "of", day, month, year) if part)


def _with_unit(number: str, unit: str) -> str:
    shown = _UNITS.get(unit.lower(), unit)
    return f"{number}{shown}" if shown.startswith(("/", "%")) else f"{number} {shown}"


def _number(text: str) -> str:
    """Returns a number as English wikis show it: 1300 -> 1,300."""
    digits, point, rest = text.partition(".")
    if digits.isascii() and digits.isdigit() and len(digits) < 16:
        digits = f"{int(digits):,}" if len(digits) > 3 else digits
    return digits + point + rest


def _is_number(text: str) -> bool:
    return bool(text) and all(c.isdigit() or c in ".,/+-\u2212" for c in text)
