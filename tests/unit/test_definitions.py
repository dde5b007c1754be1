"""Terms of definition lists."""

from __future__ import annotations

from domicile.definitions import Term, in_force, terms

SETTINGS = """## Settings

port (integer)
The port the server listens on; 5432 by default.

This parameter can only be set at server start.

-n
--dry-run
Do everything except actually send the updates. The other commands of this page have it as well.

# Notes

Nothing of this page holds for Windows."""


def named(text: str, words: str) -> str | None:
    found = terms(text)
    number = in_force(found, text.index(words))
    return found[number].name if number is not None else None


def test_a_term_holds_until_the_next_term_or_heading() -> None:
    assert named(SETTINGS, "The port") == "port (integer)"
    assert named(SETTINGS, "This parameter") == "port (integer)"
    assert named(SETTINGS, "Do everything") == "-n; --dry-run"
    assert named(SETTINGS, "Nothing") is None
    assert named(SETTINGS, "Settings") is None


def test_a_term_does_not_define_itself() -> None:
    assert named(SETTINGS, "port (integer)") is None
    assert named(SETTINGS, "--dry-run") is None


def test_an_indented_definition_of_a_man_page() -> None:
    text = "  -v, --verbose\n      Show what is done, and on which of the given files.\n"
    assert terms(text) == [Term("-v, --verbose", 2, 16)]


def test_wrapped_prose_lists_tables_and_code_have_no_terms() -> None:
    for text in (
        "Parking is free for everybody who\narrives before nine, and costs two\neuros a day for everybody else.",
        "Hanzelaan 12\n8017 JJ Zwolle\nThe Netherlands",
        "- first\n- a second one that goes on for quite a while",
        "| a | b |\n|---|---|\n| 1 | A rather long cell in a table of two columns |",
        "```\nls\nA line of output that is longer than the command\n```",
        "Note that:\nThe following holds for all of the servers.",
        "",
    ):
        assert terms(text) == [], text
