"""Detectors of the numbers that states give to people. Pure.

A number with a strong check, or of a form that little else has, is found anywhere; the others only near a word that
says what they are.
"""

from __future__ import annotations

from domicile.recognisers import checksums
from domicile.recognisers.detection import Detector, apart, checked, words

_SWEDISH = words("person-?n(?:umme|)r", "samordnings", "personal number", "swedish (?:id|number)")


def _swedish_adult(digits: str) -> bool:
    """Twelve digits with a dash are a file's or a ticket's name as well: only those of who was born before 2000."""
    return (len(digits) == 10 or digits < "2000") and checksums.swedish_personnummer(digits.replace("+", ""))


NATIONAL_IDS: tuple[Detector, ...] = (
    Detector("US_SSN", apart("[0-9]", "[0-9]{2}-[0-9]{2}-[0-9]{4}"), numeric=True, extent=checked(checksums.us_ssn)),
    Detector(
        "US_SSN",
        apart("[0-9]", "[0-9]{2}[ .]?[0-9]{2}[ .]?[0-9]{4}"),
        hints=("ssn", "social security", "itin"),
        numeric=True,
        extent=checked(checksums.us_ssn),
        near=words("ssn", "social security", "itin(?![a-z])"),
    ),
    Detector(
        "DE_TAX_ID",
        apart("[1-9]", "[0-9](?:[ ./]?[0-9]{3}){3}"),
        numeric=True,
        extent=checked(checksums.german_tax_id),
    ),
    Detector(
        "FR_NIR",
        apart(
            "[1-478]",
            "[ .-]?[0-9]{2}[ .-]?[0-9]{2}[ .-]?(?:[0-9]{2}|2[ABab])[ .-]?[0-9]{3}[ .-]?[0-9]{3}[ .-]?[0-9]{2}",
        ),
        numeric=True,
        extent=checked(checksums.french_nir),
    ),
    Detector(
        "ES_DNI",
        apart("[0-9XYZxyz]", r"(?:[0-9]{7}|-?[0-9]{7}|[0-9]\.[0-9]{3}\.[0-9]{3})-?[A-Za-z]"),
        numeric=True,
        extent=checked(lambda number: len(number) == 9 and checksums.spanish_dni(number)),
    ),
    Detector(
        "IT_CODICE_FISCALE",
        apart(
            "[A-Za-z]",
            "[A-Za-z]{2} ?[A-Za-z]{3} ?[0-9L-NP-Vl-np-v]{2}[A-EHLMPRSTa-ehlmprst][0-9L-NP-Vl-np-v]{2} ?"
            "[A-Za-z][0-9L-NP-Vl-np-v]{3} ?[A-Za-z]",
        ),
        extent=checked(checksums.italian_fiscal_code),
    ),
    Detector(
        "NL_BSN",
        apart("[0-9]", "[0-9]{1,3}[ .-]?[0-9]{2,3}[ .-]?[0-9]{3}"),
        hints=("bsn", "burgerservice", "sofi"),
        numeric=True,
        extent=checked(lambda digits: len(digits) in (8, 9) and checksums.dutch_bsn(digits)),
        near=words("bsn", "burgerservice", "sofi-?nummer"),
    ),
    Detector("PL_PESEL", apart("[0-9]", "[0-9]{10}"), numeric=True, extent=checked(checksums.polish_pesel)),
    Detector(
        "SE_PERSONNUMMER",
        apart("[0-9]", "[0-9]{5}(?:[0-9]{2})?[-+][0-9]{4}"),
        numeric=True,
        extent=checked(_swedish_adult, "-+"),
    ),
    Detector(
        "SE_PERSONNUMMER",
        apart("[0-9]", "[0-9]{5}(?:[0-9]{2})?[-+ ]?[0-9]{4}"),
        hints=("personn", "person-n", "samordnings", "personal number", "swedish"),
        numeric=True,
        extent=checked(checksums.swedish_personnummer, "-+ "),
        near=_SWEDISH,
    ),
    Detector(
        "BE_NATIONAL_NUMBER",
        apart("[0-9]", "[0-9][. ]?[0-9]{2}[. ]?[0-9]{2}[- ]?[0-9]{3}[. -]?[0-9]{2}"),
        numeric=True,
        extent=checked(checksums.belgian_national_number),
    ),
    Detector(
        "FI_HETU",
        apart("[0-3]", "[0-9][01][0-9]{3}[-+A-FU-Ya-fu-y][0-9]{3}[0-9A-Ya-y]"),
        numeric=True,
        extent=checked(checksums.finnish_hetu, ""),
    ),
    Detector(
        "PT_NIF",
        apart("[1-9]", "[0-9]{2}[ .]?[0-9]{3}[ .]?[0-9]{3}"),
        hints=("nif", "contribuinte"),
        numeric=True,
        extent=checked(checksums.portuguese_nif),
        near=words("nif(?![a-z])", "contribuinte", "identificação fiscal"),
    ),
    Detector(
        "UK_NINO",
        apart(
            "[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z]",
            "[A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-Da-d]",
        ),
        numeric=True,
        extent=checked(lambda number: number[:2].upper() not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}),
    ),
    Detector(
        "UK_NHS",
        apart("[0-9]", "[0-9]{2}[ -]?[0-9]{3}[ -]?[0-9]{4}"),
        hints=("nhs", "national health"),
        numeric=True,
        extent=checked(checksums.british_nhs),
        near=words("nhs", "national health"),
    ),
    Detector(
        "CH_AHV",
        apart("7", r"56[. ]?[0-9]{4}[. ]?[0-9]{4}[. ]?[0-9]{2}"),
        hints=("756",),
        numeric=True,
        extent=checked(checksums.swiss_ahv),
    ),
)
