"""What a ``style`` attribute says about whether words can be seen: boxes, sizes of letters, colours.

No stylesheet is read: that takes a browser, and classes hide what a click shows (tabs, menus) as often as anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

Colour = tuple[int, int, int]
Style = Mapping[str, str]

# An unclosed quote or bracket goes on to the end, as in a browser, so that reading takes linear time.
_DECLARATION = re.compile(r"""(?:[^;"'(]++|"[^"]*"?|'[^']*'?|\([^)]*\)?)+""")
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)
_IMPORTANT = re.compile(r"!\s*important\s*\Z")
_LENGTH = re.compile(r"([+-]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}))([a-z]{0,4}|%)")
_PIXELS = {"pt": 4 / 3, "pc": 16.0, "rem": 16.0, "in": 96.0, "cm": 37.8, "mm": 3.78, "vw": 10.0, "vh": 10.0}
_SHORTHAND_SIZE = re.compile(r"(?:^|\s)((?:[\d.]{1,9}(?:px|pt|em|rem|%))|0)(?=\s|/)")
_COLOUR = re.compile(r"#[0-9a-f]{3,8}(?![0-9a-z])|rgba?\([^)]{0,60}\)|(?<![\w-])[a-z]{3,20}(?![\w(-])")
_NAMED = {
    "black": "000000", "silver": "c0c0c0", "gray": "808080", "grey": "808080", "white": "ffffff", "maroon": "800000",
    "red": "ff0000", "purple": "800080", "fuchsia": "ff00ff", "magenta": "ff00ff", "green": "008000", "lime": "00ff00",
    "olive": "808000", "yellow": "ffff00", "navy": "000080", "blue": "0000ff", "teal": "008080", "aqua": "00ffff",
    "cyan": "00ffff", "snow": "fffafa", "ivory": "fffff0", "whitesmoke": "f5f5f5", "ghostwhite": "f8f8ff",
}  # fmt: skip
_PAINTINGS = ("url(", "gradient(", "var(", "image(")
_TRANSPARENT_BELOW = 0.1
_MAX_KNOWN = 1_000
_FAR = -999.0
"""Pixels; what a carousel moves aside is nearer."""
_CLIPPED_AWAY = re.compile(r"inset\(\s*(?:50|100)%|circle\(\s*0(?![.\d])|rect\((?:[\s,]*[01](?:px)?(?=[\s,)])){4}")
_SCALED_AWAY = re.compile(r"scale(?:3d|x|y)?\(\s*0(?:\.0+)?\s*[,)]")


def declarations(source: str) -> Style:
    """The properties of a ``style`` attribute in lower case; the last of a name counts, an important one first."""
    return _declarations(source) if len(source) > _MAX_KNOWN else _known(source)


def _declarations(source: str) -> Style:
    found: dict[str, str] = {}
    important: dict[str, str] = {}
    for declaration in _DECLARATION.findall(_COMMENT.sub(" ", source)):
        name, colon, value = _ESCAPE.sub(_letter, declaration).lower().partition(":")
        value = value.strip()
        if colon:
            bare = _IMPORTANT.sub("", value)
            (found if bare == value else important)[name.strip()] = bare.strip()
    return found | important


_known = lru_cache(1_024)(_declarations)  # a page says the same of many elements


def is_boxed_out(style: Style) -> bool:
    """Whether nothing inside the element is seen, whatever it says itself."""
    return (
        style.get("display") == "none"
        or style.get("content-visibility") == "hidden"
        or _is_transparent(style.get("opacity", ""))
        or _SCALED_AWAY.search(style.get("transform", "")) is not None
        or _is_off_screen(style)
    )


def is_cut_to_nothing(style: Style) -> bool:
    """Whether the element is a box without a size that shows nothing beyond it; cells of tables never are."""
    if style.get("position") in ("absolute", "fixed") and _CLIPPED_AWAY.search(style.get("clip", "")):
        return True
    if _CLIPPED_AWAY.search(style.get("clip-path", "")):
        return True
    if not style.get("overflow", "").startswith(("hidden", "clip")):
        return False
    lengths = (pixels(style.get(name, "")) for name in ("height", "max-height", "width"))
    return any(length is not None and length <= 1 for length in lengths)


def letter_size(style: Style, inherited: float) -> float:
    """The size of letters in pixels."""
    value = style.get("font-size")
    if value is None and (match := _SHORTHAND_SIZE.search(style.get("font", ""))):
        value = match[1]
    if value is None or value == "inherit":
        return inherited
    size = pixels(value, inherited, inherited)
    return 16.0 if size is None else size


def pixels(value: str, em: float = 16.0, whole: float = 0.0) -> float | None:
    """A length in pixels; ``None`` for what is no length. A page is taken to be 1000 pixels wide and high."""
    match = _LENGTH.fullmatch(value)
    if match is None:
        return None
    number, unit = float(match[1]), match[2]
    if unit in ("em", "ex", "ch"):
        return number * em
    return number * whole / 100 if unit == "%" else number * _PIXELS.get(unit, 1.0)


def is_invisible_ink(style: Style) -> bool:
    """Whether letters have no colour at all, unless a background or a shadow draws them."""
    drawn = any("text" in style.get(name, "") for name in ("background-clip", "-webkit-background-clip", "background"))
    drawn = drawn or any(name in style for name in ("text-shadow", "-webkit-text-stroke", "-webkit-text-fill-color"))
    return _alpha(style.get("color", "")) < _TRANSPARENT_BELOW and not drawn


def ground(style: Style, inherited: Colour | None) -> Colour | None:
    """The colour behind the words; ``None`` where it cannot be known."""
    value = style.get("background-color", style.get("background", ""))
    if not value and "background-image" not in style:
        return inherited
    if any(mark in style.get(name, "") for name in ("background", "background-image") for mark in _PAINTINGS):
        return None
    if value in ("", "none", "transparent", "inherit", "initial", "unset") or _alpha(value) < _TRANSPARENT_BELOW:
        return inherited
    return colour(value)


def colour(value: str) -> Colour | None:
    """The first colour in a value; ``None`` where there is none, or what is behind it shines through."""
    for match in _COLOUR.finditer(value):
        found = match[0]
        digits = found[1:] if found.startswith("#") else _NAMED.get(found, "")
        if len(digits) in (3, 4):
            digits = "".join(2 * digit for digit in digits)
        if found.startswith("rgb"):
            parts = re.findall(r"[\d.]+%?", found)
            if len(parts) >= 3 and all(part.isdigit() for part in parts[:3]) and _alpha(found) == 1:
                red, green, blue = (min(255, int(part)) for part in parts[:3])
                return red, green, blue
        elif len(digits) in (6, 8) and _alpha(found) == 1:
            return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)
    return None


def _alpha(value: str) -> float:
    """How much a colour covers, from 0 to 1."""
    if value == "transparent":
        return 0.0
    if match := re.fullmatch(r"#(?:[0-9a-f]{3}([0-9a-f])|[0-9a-f]{6}([0-9a-f]{2}))", value):
        return int(2 * match[1] if match[1] else match[2], 16) / 255
    parts = re.findall(r"[\d.]+%?", value) if value.startswith(("rgba(", "rgb(", "hsla(", "hsl(")) else []
    return _share(parts[3]) if len(parts) == 4 else 1.0


def _share(value: str) -> float:
    match = _LENGTH.fullmatch(value)
    if match is None or match[2] not in ("", "%"):
        return 1.0
    return float(match[1]) / (100 if match[2] else 1)


def _is_transparent(opacity: str) -> bool:
    return bool(opacity) and _share(opacity) < _TRANSPARENT_BELOW


def _is_off_screen(style: Style) -> bool:
    names = ["text-indent", "margin-left", "margin-top"]
    if style.get("position") in ("absolute", "fixed", "relative"):
        names += ["left", "top", "right", "bottom"]
    return any((moved := pixels(style.get(name, ""))) is not None and moved <= _FAR for name in names)


def _letter(match: re.Match[str]) -> str:
    if match[2]:
        return match[2]
    point = int(match[1], 16)
    return chr(point) if 0 < point < 0x110000 else "\ufffd"
