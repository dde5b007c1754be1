"""Labels: what a source says, how sources join, and what is missing; to the letter of the contract."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domicile import labels
from domicile.domain import Label, Sensitivity
from domicile.errors import LabelError
from domicile.labels import EEA, EU, MALFORMED, PartialLabel, Regions, complete, join_partial, parse

REGIONS = Regions.known(
    [*EEA, "us", "ch", "gb"], {"nordics": ["se", "fi", "dk"], "dach": ["de", "at", "ch"], "lab": []}
)
MOST = Label(frozenset({"local"}), Sensitivity.RESTRICTED, False, 0, frozenset(), frozenset({"answer"}), None)

words = st.frozensets(st.sampled_from(["a", "b", "c"]))
partials = st.builds(
    PartialLabel,
    regions=st.none() | st.frozensets(st.sampled_from(["de", "us", "local"])),
    sensitivity=st.none() | st.sampled_from(Sensitivity),
    hosted=st.none() | st.booleans(), retention_days=st.none() | st.integers(0, 9), categories=st.none() | words,
    purposes=st.none() | words, groups=st.none() | words)  # fmt: skip


def at_least_as_strict(strict: Label, than: Label) -> bool:
    return (
        strict.regions <= than.regions and strict.sensitivity.rank >= than.sensitivity.rank
        and strict.hosted <= than.hosted and strict.retention_days <= than.retention_days
        and strict.categories >= than.categories and strict.purposes <= than.purposes
        and (than.groups is None or (strict.groups is not None and strict.groups <= than.groups))
    )  # fmt: skip


@given(partials, partials, partials)
def test_joining_is_associative_commutative_and_idempotent(a: PartialLabel, b: PartialLabel, c: PartialLabel) -> None:
    assert join_partial([join_partial([a, b]), c]) == join_partial([a, join_partial([b, c])])
    assert join_partial([a, b]) == join_partial([b, a])
    assert join_partial([a, a]) == join_partial([a]) == a
    assert join_partial([]) == PartialLabel()


@given(st.lists(partials, min_size=1), partials)
def test_another_label_only_ever_restricts(sources: list[PartialLabel], more: PartialLabel) -> None:
    whole = [complete(source, None) for source in sources]
    joined = labels.join(whole)
    assert joined is not None
    assert all(at_least_as_strict(joined, label) for label in whole)
    assert at_least_as_strict(labels.narrow(joined, more), joined)


@given(st.lists(partials))
def test_a_malformed_source_makes_the_whole_label_the_most_restrictive(sources: list[PartialLabel]) -> None:
    label = complete(join_partial([*sources, MALFORMED]), frozenset({"hr"}))
    assert label.regions <= {"local"}
    assert (label.sensitivity, label.hosted, label.retention_days) == (Sensitivity.RESTRICTED, False, 0)
    assert label.purposes <= {"answer"}
    assert label.groups == frozenset()  # the owner alone


@given(partials, st.none() | words)
def test_a_stored_label_is_read_back_equal(partial: PartialLabel, groups: frozenset[str] | None) -> None:
    label = complete(partial, groups)
    assert labels.from_record(labels.to_record(label)) == label


def test_without_any_source_a_label_is_the_most_restrictive_with_the_collections_groups() -> None:
    assert complete(join_partial([]), None) == MOST
    assert complete(join_partial([parse({}, REGIONS)]), frozenset({"hr"})).groups == {"hr"}
    assert labels.join([]) is None


def test_what_no_source_says_is_completed_field_by_field() -> None:
    label = complete(parse({"regions": ["eu"], "hosted": True}, REGIONS), None)
    assert (label.regions, label.hosted) == (EU, True)
    assert (label.sensitivity, label.retention_days, label.categories, label.purposes) == (
        Sensitivity.RESTRICTED, 0, frozenset(), {"answer"})  # fmt: skip
    label = complete(parse({"sensitivity": "public", "retention_days": 30, "categories": ["pii"]}, REGIONS), None)
    assert (label.regions, label.hosted) == ({"local"}, False)
    assert (label.sensitivity, label.retention_days, label.categories) == (Sensitivity.PUBLIC, 30, {"pii"})


def test_an_omitted_field_contributes_nothing_to_the_join() -> None:
    joined = join_partial([parse({"sensitivity": "internal"}, REGIONS), parse({"regions": ["de"]}, REGIONS)])
    assert joined == PartialLabel(regions=frozenset({"de"}), sensitivity=Sensitivity.INTERNAL)


def test_no_groups_means_everyone_and_disjoint_groups_mean_the_owner() -> None:
    everyone, hr, board = (parse({"groups": groups}, REGIONS) for groups in ([], ["hr", "it"], ["board"]))
    assert complete(everyone, None).groups is None
    assert complete(everyone, frozenset({"hr"})).groups == {"hr"}
    assert complete(join_partial([everyone, hr]), None).groups == {"hr", "it"}
    nobody = complete(join_partial([hr, board]), frozenset({"hr"}))
    assert nobody.groups == frozenset()
    assert labels.to_json(nobody, REGIONS)["groups"] == []
    assert labels.to_json(nobody, REGIONS)["owner_only"] is True
    assert "owner_only" not in labels.to_json(complete(everyone, None), REGIONS)


def test_regions_join_to_what_they_share_also_to_nothing() -> None:
    joined = join_partial([parse({"regions": [name]}, REGIONS) for name in ("eu", "us")])
    assert joined.regions == frozenset()
    assert join_partial([parse({"regions": [name]}, REGIONS) for name in ("eea", "nordics")]).regions == {
        "se",
        "fi",
        "dk",
    }


@pytest.mark.parametrize(("field", "value"), [
    ("regions", ["EU"]), ("regions", [" eu"]), ("regions", ["eu "]), ("regions", ["eu\n"]), ("regions", ["mars"]),
    ("regions", "eu"),
    ("regions", [["eu"]]), ("regions", None), ("regions", {"eu": True}), ("regions", [""]), ("regions", ["*"]),
    ("sensitivity", "Internal"), ("sensitivity", "internal "), ("sensitivity", "secret"), ("sensitivity",
    ["internal"]), ("sensitivity", 1),
    ("sensitivity", None), ("hosted", "true"), ("hosted", 1), ("hosted", None),
    ("retention_days", -1), ("retention_days", 1.5), ("retention_days", True), ("retention_days", "30"),
    ("retention_days", None),
    ("categories", ["PII"]), ("categories", "pii"), ("purposes", ["answer "]), ("purposes", None),
    ("groups", ["*"]), ("groups", ["HR"]), ("groups", [""]), ("groups", "hr"), ("groups", [1]), ("groups", ["hr\n"]),
    ("groups", ["x" * 65]),
    ("Regions", ["eu"]), ("region", ["eu"]), ("owner_only", True), (1, 1),
])  # fmt: skip
def test_a_word_outside_the_vocabulary_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(LabelError, match=f"^{field}"):
        parse({field: value}, REGIONS)


@pytest.mark.parametrize("raw", [None, [], "eu", 3, [("regions", ["eu"])]])
def test_a_label_that_is_no_table_is_refused(raw: object) -> None:
    with pytest.raises(LabelError, match="must be a table"):
        parse(raw, REGIONS)


@given(st.frozensets(st.sampled_from(sorted(REGIONS.places))))
def test_regions_written_short_expand_to_the_same_places(leaves: frozenset[str]) -> None:
    assert REGIONS.expand(REGIONS.compact(leaves)) == leaves


def test_regions_are_written_by_their_usual_names() -> None:
    assert REGIONS.compact(REGIONS.expand(["global"])) == ["global"]
    assert REGIONS.compact(REGIONS.expand(["eu", "local"])) == ["eu", "local"]
    assert REGIONS.compact(REGIONS.expand(["eea", "us"])) == ["eea", "us"]
    assert REGIONS.compact(frozenset()) == []
    assert REGIONS.expand(["global"]) == REGIONS.places
    assert len(EU) == 27
    assert EEA - EU == {"is", "li", "no"}


def test_configured_regions_are_groups_or_places() -> None:
    assert REGIONS.expand(["dach", "lab"]) == {"de", "at", "ch", "lab"}
    assert "lab" in REGIONS.expand(["global"])


@pytest.mark.parametrize("extra", [
    {"eu": ["de"]}, {"de": ["fr"]}, {"local": ["de"]}, {"global": []}, {"DACH": ["de"]}, {" x": []}, {"x": ["mars"]},
    {"x": ["DE"]},
    {"*": []}, {"x": ["global"]},
])  # fmt: skip
def test_a_configured_region_that_is_taken_malformed_or_unknown_is_refused(extra: dict[str, list[str]]) -> None:
    with pytest.raises(LabelError, match=r"^regions\."):
        Regions.known([*EEA], extra)
