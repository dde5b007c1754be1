"""The label of a document: everything that speaks of it, joined."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from corpora import REGIONS

from domicile import labels
from domicile.domain import Collection, Label, Sensitivity
from domicile_ingest.labelling import Labeller

RULES = {"hr/**": {"groups": ["hr"]}, "**/*.board.md": {"sensitivity": "restricted"}, "*.txt": {"regions": ["de"]}}


def labeller(tmp_path: Path, own: object = None, groups: frozenset[str] | None = None) -> Labeller:
    sidecars = {path.name.removesuffix(".label.toml"): path for path in tmp_path.glob("*.label.toml")}
    rules = tuple((glob, labels.parse(raw, REGIONS)) for glob, raw in RULES.items())
    return Labeller(Collection("c", groups=groups), REGIONS, labels.parse(own or {}, REGIONS), rules, sidecars)


def label_of(made: Labeller, file: str, inside: dict[str, object] | None = None) -> tuple[Label, list[str]]:
    outside, warnings = made.outside(file)
    label, more = made.label(file, outside, inside)
    return label, warnings + more


@pytest.mark.parametrize(("file", "matches"), [
    ("hr/leave.md", {"hr/**"}), ("hr/a/b/c.md", {"hr/**"}), ("hr/.x/a.md", {"hr/**"}), ("HR/leave.md", set()),
    ("xhr/leave.md", set()),
    ("a/hr/b.md", set()), ("x.board.md", {"**/*.board.md"}), ("hr/d/x.board.md", {"hr/**", "**/*.board.md"}),
    ("a.txt", {"*.txt"}), ("d/a.txt", set()), ("a.TXT", set()), ("hr", set()),
])  # fmt: skip
def test_rules_match_the_relative_path(tmp_path: Path, file: str, matches: set[str]) -> None:
    outside, _ = labeller(tmp_path).outside(file)
    assert outside[1:] == [labels.parse(raw, REGIONS) for glob, raw in RULES.items() if glob in matches]


def test_every_source_is_joined(tmp_path: Path) -> None:
    (tmp_path / "a.txt.label.toml").write_text('sensitivity = "confidential"\ngroups = ["hr", "it"]\n')
    made = labeller(tmp_path, {"regions": ["eu"], "sensitivity": "internal", "hosted": True, "retention_days": 30})
    label, warnings = label_of(made, "a.txt", {"groups": ["it", "x"], "categories": ["pii"]})
    assert label == Label(
        frozenset({"de"}),
        Sensitivity.CONFIDENTIAL,
        True,
        30,
        frozenset({"pii"}),
        frozenset({"answer"}),
        frozenset({"it"}),
    )
    assert warnings == []
    other, _ = label_of(made, "b.md")
    assert (other.regions, other.sensitivity, other.groups) == (labels.EU, Sensitivity.INTERNAL, None)


def test_without_any_source_the_collections_groups_hold(tmp_path: Path) -> None:
    label, warnings = label_of(labeller(tmp_path, groups=frozenset({"it"})), "b.md")
    assert label == Label(
        frozenset({"local"}), Sensitivity.RESTRICTED, False, 0, frozenset(), frozenset({"answer"}), frozenset({"it"})
    )
    assert warnings == []


@pytest.mark.parametrize("content", [
    b"regions = [", b'sensitivity = "Public"', b'secret = "x"', b"\xff\xfe", b"groups = 'hr'", b"x = " + b"[" * 60_000,
    b"x = " + b"1" * 5_000,
    b"#" * 70_000, b'a = 1\na = 2', b'[label]\nregions = ["eu"]',
])  # fmt: skip
def test_a_malformed_sidecar_restricts_and_warns(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.md.label.toml").write_bytes(content)
    label, [warning] = label_of(
        labeller(tmp_path, {"regions": ["eu"], "sensitivity": "public", "hosted": True}), "a.md"
    )
    assert warning.startswith("a.md.label.toml: ")
    assert (label.sensitivity, label.hosted, label.regions & {"de"}, label.groups) == (
        Sensitivity.RESTRICTED,
        False,
        set(),
        set(),
    )


def test_a_sidecar_that_is_no_plain_file_restricts_and_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "outside.toml").write_text('sensitivity = "public"')
    (tmp_path / "link.md.label.toml").symlink_to("outside.toml")
    (tmp_path / "dangling.md.label.toml").symlink_to("nowhere")
    (tmp_path / "folder.md.label.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.md.label.toml")
    made = labeller(tmp_path)
    for file in ("link.md", "dangling.md", "folder.md", "pipe.md"):
        label, [warning] = label_of(made, file)
        assert (label.sensitivity, label.groups) == (Sensitivity.RESTRICTED, frozenset())
        assert file in warning


@pytest.mark.parametrize(
    "inside", [{"regions": ["EU"]}, {"malformed": "not a table"}, {"hosted": "yes"}, {"hosted": None}]
)
def test_a_malformed_label_inside_a_document_restricts_and_warns(tmp_path: Path, inside: dict[str, object]) -> None:
    label, [warning] = label_of(labeller(tmp_path, {"sensitivity": "public"}), "a.md", inside)
    assert (label.sensitivity, label.groups) == (Sensitivity.RESTRICTED, frozenset())
    assert warning.startswith("a.md: ")


def test_a_sidecar_without_its_file_is_an_orphan(tmp_path: Path) -> None:
    for name in ("a.md.label.toml", "gone.md.label.toml"):
        (tmp_path / name).write_text("")
    assert labeller(tmp_path).orphans(frozenset({"a.md", "b.md"})) == ["gone.md.label.toml: there is no gone.md"]


def test_the_state_tells_apart_what_is_said_outside(tmp_path: Path) -> None:
    said = [
        {},
        {"sensitivity": "restricted"},
        {"hosted": False},
        {"groups": ["it"]},
        {"regions": ["local"]},
        {"purposes": ["answer"]},
    ]
    made = labeller(tmp_path)
    states = [made.state([labels.parse(raw, REGIONS)]) for raw in said]
    assert len(set(states)) == len(said)  # what is said and what is merely completed are not the same to a label inside
    assert made.state([labels.parse({}, REGIONS)]) == states[0]
    groups = Labeller(Collection("c", groups=frozenset({"x"})), REGIONS, labels.PartialLabel(), (), {})
    assert groups.state([]) != made.state([])
    regions = labels.Regions.known(["de", "fr", "us", "ch", *labels.EEA], {"dach": ["de"]})
    assert Labeller(Collection("c"), regions, labels.PartialLabel(), (), {}).state([]) != made.state([])


def test_a_rule_matches_a_name_whose_accents_stand_apart(tmp_path: Path) -> None:
    rule = ("b\u00fcro/**", labels.parse({"groups": ["hr"]}, REGIONS))
    made = Labeller(Collection("c"), REGIONS, labels.PartialLabel(), (rule,), {})
    for file in ("b\u00fcro/a.txt", "bu\u0308ro/a.txt"):
        assert label_of(made, file)[0].groups == {"hr"}
    assert label_of(made, "buro/a.txt")[0].groups is None


def test_a_warning_shows_no_control_characters(tmp_path: Path) -> None:
    made = Labeller(Collection("c"), REGIONS, labels.PartialLabel(), (), {"a\nb\x1b[2J": tmp_path / "none"})
    [warning] = made.orphans(frozenset())
    assert warning.isprintable()
