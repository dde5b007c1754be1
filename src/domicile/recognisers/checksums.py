"""The check digits of cards, accounts and national numbers. Pure; each takes what stands between the separators.

Sources: ISO 13616 (IBAN) and the IBAN registry, release 99; ISO/IEC 7812 (Luhn); ISO 7064 (mod 11,10 and mod 97); for
national numbers what each issuer publishes.
"""

from __future__ import annotations

from datetime import date

# by country, the length of an IBAN
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip

_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_HETU = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_FISCALE_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_OMOCODIA = str.maketrans("LMNPQRSTUV", "0123456789")


def _weighed(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban(account: str) -> bool:
    """Of upper-case letters and digits, of the length of its country."""
    turned = account[4:] + account[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def card(digits: str) -> bool:
    """The prefix and the length of a network in use, and Luhn."""
    two, three, four, six = (int(digits[:count]) for count in (2, 3, 4, 6))
    length = len(digits)
    known = (
        (digits[0] == "4" and length in (16, 19))  # Visa
        or (length == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))  # Mastercard
        or (length == 15 and two in (34, 37))  # American Express
        or (length == 14 and (300 <= three <= 305 or two in (36, 38, 39)))  # Diners
        or (16 <= length <= 19 and (four == 6011 or 644 <= three <= 649 or two == 65))  # Discover
        or (16 <= length <= 19 and (3528 <= four <= 3589 or two == 62))  # JCB, UnionPay
        or (16 <= length <= 19 and four in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763))  # Maestro
        or (length == 16 and (2200 <= four <= 2204 or 508500 <= six <= 508999 or 606985 <= six <= 607984))  # Mir, RuPay
    )
    return known and luhn(digits) and len(set(digits)) > 1


def us_ssn(digits: str) -> bool:
    """Not of the ranges that are never given out; an ITIN, which takes its place for others, counts."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if area in ("000", "666") or serial == "0000":
        return False
    return (area < "900" and group != "00") or (area >= "900" and (50 <= int(group) <= 65 or int(group) >= 70))


def german_tax_id(digits: str) -> bool:
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    if digits[0] == "0" or counts[-1] not in (2, 3) or counts[-2] != 1:
        return False
    product = 10
    for digit in digits[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def french_nir(number: str) -> bool:
    whole = number.upper().replace("2A", "19").replace("2B", "18")
    return 97 - int(whole[:13]) % 97 == int(whole[13:])


def spanish_dni(number: str) -> bool:
    """A DNI, or a NIE, which begins with a letter."""
    whole = number.upper()
    return _DNI[int(whole[:-1].translate(str.maketrans("XYZ", "012"))) % 23] == whole[-1]


def italian_fiscal_code(code: str) -> bool:
    whole = code.upper()
    day = int(whole[9:11].translate(_OMOCODIA))
    if not (1 <= day <= 31 or 41 <= day <= 71):
        return False
    values = [int(character, 36) - (10 if character.isalpha() else 0) for character in whole[:15]]
    total = sum(values[1::2]) + sum(_FISCALE_ODD[value] for value in values[::2])
    return chr(65 + total % 26) == whole[15]


def dutch_bsn(digits: str) -> bool:
    return int(digits) > 0 and _weighed(digits.zfill(9), (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def polish_pesel(digits: str) -> bool:
    """Of somebody born from 1900 to 2099: the month carries the century."""
    century, month = divmod(int(digits[2:4]), 20)
    born = (1900, 2000)[century] + int(digits[:2]) if century < 2 else 0
    return (
        born > 0
        and is_day(born, month, int(digits[4:6]))
        and _weighed(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0
    )


def swedish_personnummer(digits: str) -> bool:
    """Ten digits, or twelve with the century; a coordination number has 60 added to its day."""
    short = digits[-10:]
    year = int(digits[:4]) if len(digits) == 12 else 2000 + int(short[:2])
    day = int(short[4:6])
    return 1880 < year and is_day(year, int(short[2:4]), day - 60 if day > 60 else day) and luhn(short)


def belgian_national_number(digits: str) -> bool:
    """Born from 2000 on: a 2 stands before the number in the sum. A number for a foreigner adds 20 or 40 to the month."""
    if int(digits[2:4]) % 20 > 12 or int(digits[2:4]) > 52 or int(digits[4:6]) > 31 or int(digits[:9]) == 0:
        return False
    check = int(digits[9:])
    return check in (97 - int(digits[:9]) % 97, 97 - int("2" + digits[:9]) % 97)


def finnish_hetu(code: str) -> bool:
    """``DDMMYY``, the sign of the century, three digits and the check character."""
    day, month, year = (int(code[at : at + 2]) for at in (0, 2, 4))
    return is_day(2000 + year, month, day) and _HETU[int(code[:6] + code[7:10]) % 31] == code[10].upper()


def portuguese_nif(digits: str) -> bool:
    rest = _weighed(digits[:8], (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return digits[0] != "0" and int(digits[8]) == (0 if rest < 2 else 11 - rest)


def british_nhs(digits: str) -> bool:
    check = 11 - _weighed(digits[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return len(set(digits)) > 1 and check % 11 == int(digits[9])


def swiss_ahv(digits: str) -> bool:
    """An EAN-13 that begins with 756."""
    return _weighed(digits, (1, 3) * 6 + (1,)) % 10 == 0
