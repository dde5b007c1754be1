"""Detectors of bank accounts and payment cards. Pure."""

from __future__ import annotations

import re

from domicile.recognisers import checksums
from domicile.recognisers.detection import NONE, PAYMENT, Detector

_CARD_GROUP = re.compile(r"[ .-]?(?P<digits>[0-9]{1,19})(?![0-9A-Za-z])")


def _iban(match: re.Match[str]) -> int:
    """As many characters as its country has, in groups or not; what follows is another word."""
    text, start = match.string, match.start()
    length = checksums.IBAN_LENGTHS.get(match.group()[:2].upper(), 0)
    account, at = "", start
    while at < len(text) and len(account) < length:
        if text[at].isascii() and text[at].isalnum():
            account += text[at].upper()
        elif text[at] not in " -." or not text[at - 1].isalnum():
            return NONE
        at += 1
    ends = at == len(text) or not (text[at].isascii() and text[at].isalnum())
    return at if ends and len(account) == length > 0 and checksums.iban(account) else NONE


def _card(match: re.Match[str]) -> int:
    """The groups of a card are of one size, but for the last, or 4-6-5 and 4-6-4."""
    text, end, digits, sizes = match.string, match.start(), "", list[int]()
    best = NONE
    while (group := _CARD_GROUP.match(text, end)) and len(digits) < 19:
        digits += group["digits"]
        sizes.append(len(group["digits"]))
        end = group.end()
        even = all(size == sizes[0] > 2 for size in sizes[1:-1]) and sizes[-1] <= sizes[0]
        if 14 <= len(digits) <= 19 and (even or sizes in ([4, 6, 5], [4, 6, 4])) and checksums.card(digits):
            best = end
    return best


PAYMENTS: tuple[Detector, ...] = (
    Detector(
        "IBAN",
        re.compile(r"[A-Za-z](?<![0-9A-Za-z][A-Za-z])[A-Za-z][0-9]{2}(?=[ .-]?[0-9A-Za-z])"),
        numeric=True,
        extent=_iban,
    ),
    Detector(
        "CARD",
        re.compile(r"[2-6](?<![0-9A-Za-z_][2-6])(?<![0-9][.,][2-6])(?=[0-9]{3})"),
        PAYMENT,
        numeric=True,
        extent=_card,
    ),
)
