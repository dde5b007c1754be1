"""Detectors of keys, tokens and passwords. Pure.

An issued token says itself what it is. A password does not: it is found where it is assigned, or said to be one, and
looks like one.
"""

from __future__ import annotations

import re

from domicile.recognisers.detection import CREDENTIAL, NONE, Detector

_PLACEHOLDERS = frozenset(
    "string null none true false required optional changeme change_me example undefined hidden redacted placeholder "
    "password secret token".split()
)
_REFERENCE = re.compile(r"[<{\[$(*…]|(?i:os\.|env[.:(]|https?:)|[\w.]+\(")
_SECRET_WORD = (
    r"(?i)(?:pass(?:wor[dt]|wd|phrase|code)|pwd|psk|kennwort|mot de passe|contraseña|wachtwoord|lösenord|hasło|senha"
    r"|secret|credential|token|(?:api|access|private|secret|auth|signing|account)[ _-]?key)"
)
_SAID = re.compile(_SECRET_WORD + r"s?['\"]?\s{0,3}$")
# what assigns, as in `password = x`, `"password": "x"` and `the password is x`; the value is only looked at, for in
# `a = password: x` it is the next word
_ASSIGNED = re.compile(
    r"[:=\s](?:(?<=[:=])[=>]?\s{0,3}|(?<=\s)(?i:is|was|ist|lautet|est|es|è):?\s{1,3})"
    r"(?=(?P<found>\"[^\"\n]{4,200}\"|'[^'\n]{4,200}'|[^\s\"',;]{6,200}))"
)


def _password(match: re.Match[str]) -> int:
    """A value after a word for secrets; one of letters alone only where nothing but a value can stand."""
    text, start, value = match.string, match.start(), match["found"]
    if not _SAID.search(text[max(0, start - 40) : start]):
        return NONE
    quoted, end = value[0] in "\"'", match.end("found")
    bare = value[1:-1] if quoted else value.rstrip(".?!)")
    if not bare or bare.lower() in _PLACEHOLDERS or _REFERENCE.match(bare):
        return NONE
    letters = any(character.isalpha() for character in bare)
    others = any(character.isdigit() or character in "!@#$%^&*+=_~?|\\" for character in bare)
    told = " " not in bare and (quoted or (match.group() == "=" and len(bare) >= 8 and "." not in bare))
    return end if letters and (others or told) else NONE


def _long_run(match: re.Match[str]) -> int:
    """A token has letters and digits without a break; a name in kebab case has not."""
    return match.end() if re.search(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16}", match.group()) else NONE


def _token(name: str, hint: str | tuple[str, ...], pattern: str) -> Detector:
    return Detector(name, re.compile(pattern), CREDENTIAL, (hint,) if isinstance(hint, str) else hint)


CREDENTIALS: tuple[Detector, ...] = (
    _token(
        "PRIVATE_KEY",
        "-----begin",
        # to its end, or to that of the text: half a key is still one
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----END))*+(?:-----END[A-Z0-9 ]{0,60}-----)?",
    ),
    _token("AWS_KEY", ("akia", "asia", "aroa", "aida"), r"A(?<![A-Z0-9]A)(?:KIA|SIA|ROA|IDA)[A-Z0-9]{16}(?![A-Z0-9])"),
    _token("GITHUB_TOKEN", ("gh", "github_pat_"), r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"),
    _token("GITLAB_TOKEN", "glpat-", r"glpat-[A-Za-z0-9_-]{20,255}"),
    _token("SLACK_TOKEN", "xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,255}"),
    _token("SLACK_TOKEN", "hooks.slack.com", r"hooks\.slack\.com/services/[A-Za-z0-9/]{20,100}"),
    _token("STRIPE_KEY", ("k_live_", "k_test_", "whsec_"), r"(?:[rsp]k_(?:live|test)|whsec)_[A-Za-z0-9]{10,255}"),
    _token("GOOGLE_KEY", "aiza", r"AIza[0-9A-Za-z_-]{35}"),
    _token("GOOGLE_KEY", "ya29.", r"ya29\.[0-9A-Za-z_-]{20,512}"),
    _token("SENDGRID_KEY", "sg.", r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,128}"),
    _token("HUGGING_FACE_TOKEN", "hf_", r"hf_[A-Za-z0-9]{30,255}"),
    _token("REGISTRY_TOKEN", ("npm_", "pypi-age"), r"npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{20,255}"),
    _token("DOMICILE_KEY", "dk_", r"dk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}"),
    _token("JWT", "eyj", r"eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}(?:\.[A-Za-z0-9_-]{0,2048})?"),
    Detector(
        "API_KEY", re.compile(r"s(?<![A-Za-z0-9_-]s)k-[A-Za-z0-9_-]{20,255}"), CREDENTIAL, ("sk-",), extent=_long_run
    ),
    _token(
        "BEARER_TOKEN", "bearer", r"(?i)bearer\s{1,3}(?=[A-Za-z._~+/-]{0,255}[0-9])[A-Za-z0-9._~+/-]{20,2048}={0,2}"
    ),
    _token("BASIC_CREDENTIALS", "basic", r"(?i)authorization:\s{0,3}basic\s{1,3}[A-Za-z0-9+/]{8,1024}={0,2}"),
    _token("URL_PASSWORD", "://", r"://[^\s/:@\"'<>{}$]{1,64}:[^\s/@\"'<>{}$]{3,128}@[\w.\[\]-]{1,255}"),
    Detector(
        "PASSWORD",
        _ASSIGNED,
        CREDENTIAL,
        ("pass", "pwd", "psk", "kennwort", "contraseña", "wachtwoord", "lösenord", "hasło", "senha", "secret", "credential",
         "token", "key"),
        extent=_password,
    ),
)  # fmt: skip
