"""Detectors of e-mail addresses, telephone numbers and addresses of machines. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from domicile.recognisers.detection import NONE, Detector, has_near, words

_FILE_ENDINGS = frozenset("avif bmp css gif ico jpeg jpg js json pdf png py svg ts webp xml yaml yml".split())
_CALLING_CODES = re.compile(
    "1|7|2(?:0|7|[1-69][0-9])|3(?:[0-469]|[578][0-9])|4(?:[013-9]|2[0-9])|5(?:[1-8]|[09][0-9])"
    "|6(?:[0-6]|[789][0-9])|8(?:[1246]|[058][0-9])|9(?:[0-58]|[679][0-9])"
)
_PHONE_WORDS = words(
    "phone", "(?:mobile|cell|fax)(?: (?:no|number|phone))?(?![a-z])", "tel(?![a-z])", "call(?:ed|ing)?(?![a-z])", "dial",
    "sms(?![a-z])", "whatsapp", "signal(?![a-z])", "telephone", "telefon", "téléphone", "handy(?![a-z])", "mobil",
    "anrufen", "rückruf", "rufnummer",
    "(?:my|your|her|his|their|our) number(?: is)?(?![a-z])", "contact(?![a-z])",
    "durchwahl", "portable", "appel", "teléfono", "móvil", "llam", "cellulare", "chiam",
    "telefoon", "bel(?:len)?(?![a-z])", "hotline", "(?:text|ring|reach) (?:me|him|her|us|them)(?![a-z])",
)  # fmt: skip
_DIGIT_RUN = re.compile(r"[0-9]+(?:[ ./()-]{1,3}[0-9]+)*")
_DATE_START = re.compile(
    r"(?:19|20)[0-9]{2}[-./ ](?:0?[1-9]|1[0-2])[-./ ]|[0-3]?[0-9][-./ ][01]?[0-9][-./ ](?:19|20)[0-9]{2}"
)
_NUMBERED = re.compile(
    r"(?i)(?:version|release|build|firmware|driver|section|sect|chapter|clause|paragraph|article|annex|table|figure|fig"
    r"|step|kapitel|abschnitt|upgrade to|upgraded to|update to|updated to|§|(?<![a-z])(?:v|ver|rev|ec))[.: ]{0,2}$"
)


def _email(match: re.Match[str]) -> int:
    """Not the picture ``icon@2x.png``, nor ``git@`` of an address of a repository."""
    if match["top"].lower() in _FILE_ENDINGS or match["local"] == "git":
        return NONE
    return match.end()


def _runs(text: str, at: int, least: int, most: int) -> Iterator[tuple[int, str, list[str]]]:
    """Where a number with this many digits could end, the longest first: the end, its digits and its groups."""
    run = _DIGIT_RUN.match(text, at, at + 60)
    groups = re.findall(r"[0-9]+", run.group()) if run else []
    ends = [found.end() for found in re.finditer(r"[0-9]+", run.group())] if run else []
    for count in range(len(groups), 0, -1):
        if least <= len(digits := "".join(groups[:count])) <= most:
            yield at + ends[count - 1], digits, groups[:count]


def _international(match: re.Match[str]) -> int:
    """A calling code in use, and a length that fits; an amount with a sign is none."""
    for end, digits, groups in _runs(match.string, match.end() - 1, 8, 16):
        code = _CALLING_CODES.match(digits)
        own = digits[code.end() :] if code else ""
        american = digits[0] == "1"
        amount = digits.endswith("000") and all(len(group) == 3 for group in groups[1:])
        if own and not own.startswith("00") and not amount and (len(own) >= 6):
            if not american or (len(digits) == 11 and digits[1] > "1" and digits[4] > "1"):
                return end
    return NONE


def _double_zero(match: re.Match[str]) -> int:
    end = _international(match)
    told = has_near(_PHONE_WORDS, match.string, match.start(), max(end, match.end()))
    return (
        end
        if told or re.match(r"00 ?[1-9][0-9]{0,2}[ (./-]", match.string[match.start() : match.start() + 8])
        else NONE
    )


def _national(match: re.Match[str]) -> int:
    """A number as it is written at home: only where a word says that it is one."""
    text, start = match.string, match.start()
    if _DATE_START.match(text, start):
        return NONE
    for end, digits, groups in _runs(text, match.end() - 1, 7, 12):
        if digits.endswith("000") and all(len(group) == 3 for group in groups[1:]):
            return NONE
        if text[end : end + 1].isalnum() or text[end : end + 2].strip()[:1] in ("%", "€", "$", "£"):
            return NONE
        return end
    return NONE


def _told_just_before(match: re.Match[str]) -> int:
    before = match.string[max(0, match.start() - 40) : match.start()].rpartition("\n")[2]
    told = list(_PHONE_WORDS.finditer(before))
    close = (
        bool(told)
        and re.fullmatch(r"[^.,;?!\d(]{0,25}[.:]?[^.,;?!\d(]{0,6}(?:(?<=\s)\()?", before[told[-1].end() :]) is not None
    )
    return _national(match) if close else NONE


def _ipv4(match: re.Match[str]) -> int:
    """Not a version, a numbered heading, a network, nor an address that every machine has."""
    text, start = match.string, match.start()
    number, _, bits = match.group().partition("/")
    try:
        address = ipaddress.IPv4Address(number)
    except ValueError:
        return NONE
    common = address.is_loopback or address.is_unspecified or address.is_multicast or number.startswith("255.")
    numbered = _NUMBERED.search(text[max(0, start - 16) : start])
    heading = text[:start].rpartition("\n")[2].strip(" #") == "" and re.match(r" [A-Z]", text[match.end() :][:2])
    return NONE if common or bits not in ("", "32") or numbered or heading else match.end()


def _ipv6(match: re.Match[str]) -> int:
    try:
        ipaddress.IPv6Address(match.group().rstrip(".:"))
    except ValueError:
        return NONE
    return match.start() + len(match.group().rstrip(".:"))


CONTACTS: tuple[Detector, ...] = (
    Detector(
        "EMAIL",
        # an address begins where its characters do, so that a long word without an @ is read once
        re.compile(
            r"(?P<local>[\w.%+'-](?<![\w.%+'-]{2})[\w.%+'-]*+)(?:@|\s?[\[(]\s?at\s?[\])]\s?)"
            r"(?:[\w-]{1,63}(?:\.|\s?[\[(]\s?dot\s?[\])]\s?)){1,8}(?<![0-9][.])"
            r"(?P<top>xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24})"
        ),
        hints=("@", "[at", "(at", "[ at", "( at"),
        extent=_email,
    ),
    Detector("PHONE", re.compile(r"\+(?<![0-9+]\+)\(?[1-9]"), hints=("+",), numeric=True, extent=_international),
    Detector(
        "PHONE",
        re.compile(r"0(?<![0-9A-Za-z]0)(?<![0-9][ .,/-]0)0[ (-]{0,2}[1-9]"),
        hints=("00",),
        numeric=True,
        extent=_double_zero,
    ),
    Detector(
        "PHONE",
        re.compile(r"\((?<![0-9A-Za-z]\()[2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}(?![0-9])"),
        hints=("(",),
    ),
    Detector(
        "PHONE",
        re.compile(
            r"[0-9](?<![0-9A-Za-z+][0-9])(?<![0-9][ .,/-][0-9])(?<![A-Za-z]-[0-9])(?=(?:[ ./()-]{0,3}[0-9]){6})"
        ),
        numeric=True,
        extent=_told_just_before,
    ),
    Detector(
        "IP",
        re.compile(
            r"[0-9](?<![0-9A-Za-z_.-][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?(?![0-9A-Za-z_-])(?!\.[0-9])"
        ),
        extent=_ipv4,
    ),
    Detector(
        "IP",
        re.compile(r"[0-9A-Fa-f](?<![\w:.][0-9A-Fa-f])[0-9A-Fa-f]{3}:[0-9A-Fa-f:.]{2,40}(?![\w:])"),
        hints=(":",),
        extent=_ipv6,
    ),
)
