"""``domicile policy``: what is odd about a home before anybody asks, and why an answer came from where it came."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from services import home_with

from domicile import labels, payload, receipts
from domicile.bootstrap import Home
from domicile.cli import main
from domicile.domain import OWNER, Answer, Decision
from domicile.payload import Part
from domicile.policy import decide

TODAY = datetime.now(UTC).date()


def sink(name: str, **changed: object) -> str:
    """A declaration in TOML; ``None`` leaves a key out."""
    declared: dict[str, object] = {
        "model": "openai/x", "api_base": "http://127.0.0.1:9/v1", "processing_regions": ["eu"],
        "storage_regions": ["eu"], "retention_days": 0, "training": False, "human_review": False,
        "max_sensitivity": "internal", "categories": [], "purposes": ["answer"],
    }  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in (declared | changed).items() if value is not None]
    days = [line.replace('"', "") if line.startswith("valid_") else line for line in lines]
    return "\n".join(
        [
            "[[sinks]]",
            f'name = "{name}"',
            'api_key = { env = "ACME_KEY" }',
            "price = { input_per_million = 1.0, output_per_million = 2.0 }",
            *days,
            "",
        ]
    )


def markdown(title: str, label: str) -> str:
    return f"---\ndomicile:\n  label: {{{label}}}\n---\n# {title}\n\nThe {title} is described here in a sentence.\n"


DOCUMENTS = {
    "eu.md": markdown("leave", "regions: [eu, local], sensitivity: internal, hosted: true"),
    "eu2.md": markdown("sickness", "regions: [eu, local], sensitivity: internal, hosted: true"),
    "bare.md": "# Bare\n\nNobody labelled this text.\n",
    "board.md": markdown("minutes", "regions: [local], sensitivity: restricted, hosted: false, groups: [board]"),
    "half.md": markdown("half", "regions: [local], sensitivity: internal, hosted: true"),
    "swiss.md": markdown("swiss", "regions: [ch, local], sensitivity: confidential, hosted: true"),
    "case.md": markdown("case", "regions: [eu], sensitivity: internal, hosted: true, categories: [phi]"),
    "eval.md": markdown("judged", "regions: [eu], sensitivity: internal, hosted: true, purposes: [eval]"),
    "bad.md": markdown("bad", "regions: [EU], sensitivity: internal, hosted: true"),
    "nowhere.md": markdown("nowhere", "regions: [us], sensitivity: internal, hosted: true"),
    "nowhere.md.label.toml": 'regions = ["eu"]\n',
}
ORDER = '[routing]\norder = ["acme-eu", "local"]\n'


def run(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["--home", str(home), "--json", "policy", *arguments])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, found


def by_code(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["code"]: finding for finding in found["findings"]}


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "k")


@pytest.mark.usefixtures("secret")
def test_labels_are_counted_with_the_sinks_that_they_reach(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = home_with(tmp_path, DOCUMENTS, settings=sink("acme-eu") + ORDER)
    code, found = run(capsys, home.path, "check")
    assert code == 0
    assert found["ok"] is True
    rows = found["collections"]["handbook"]["labels"]
    assert sum(row["documents"] for row in rows) == 10
    assert rows[0]["documents"] == 2
    assert rows[0]["label"]["regions"] == ["eu", "local"]
    assert [(row["documents"], row["sinks"]) for row in rows if row["sinks"]] == [(2, ["acme-eu"])]
    findings = by_code(found)
    assert {code: finding["documents"] for code, finding in findings.items()} == {
        "unlabelled": ["bare.md"],
        "hosted_but_local": ["half.md"],
        "no_sink": findings["no_sink"]["documents"],
        "category": ["case.md"],
        "purpose": ["eval.md"],
        "owner_only": ["bad.md"],
        "no_region": ["nowhere.md"],
    }
    clashes = [finding["message"] for finding in found["findings"] if finding["code"] == "no_sink"]
    assert any("region (acme-eu processes in eu; the label allows ch, local)" in message for message in clashes)
    assert any("categories (acme-eu is cleared for nothing; the label has phi)" in message for message in clashes)
    assert {finding["severity"] for finding in found["findings"]} == {"warning"}
    assert not any("board.md" in finding["documents"] for finding in found["findings"]), (
        "that is what it is meant to be"
    )


def test_a_home_with_clean_labels_has_nothing_odd(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], secret: None
) -> None:
    home = home_with(tmp_path, {"eu.md": DOCUMENTS["eu.md"]}, settings=sink("acme-eu") + ORDER)
    assert run(capsys, home.path, "check")[1]["findings"] == []
    main(["--home", str(home.path), "policy", "check"])
    said = capsys.readouterr().out
    assert "nothing odd" in said
    assert "→ acme-eu, local" in said


@pytest.mark.parametrize(
    ("changed", "code", "severity"),
    [
        ({"valid_until": str(TODAY - timedelta(days=1))}, "expired", "error"),
        ({"valid_until": str(TODAY)}, "expires_soon", "warning"),
        ({"valid_until": str(TODAY + timedelta(days=30))}, "expires_soon", "warning"),
        ({"valid_until": str(TODAY + timedelta(days=31))}, None, None),
        ({"valid_from": str(TODAY + timedelta(days=1))}, "not_yet_valid", "warning"),
        ({"valid_from": str(TODAY)}, None, None),
        ({"training": True}, "training", "warning"),
        ({"purposes": ["eval"]}, "purpose", "warning"),
        ({"kind": "judge"}, "purpose", "warning"),
        ({"kind": "traces"}, "nothing_sent", "info"),
        ({"human_review": True, "max_sensitivity": "restricted"}, "human_review", "info"),
        ({"human_review": True}, None, None),
    ],
)
def test_a_declaration_that_does_not_do_what_it_seems_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], secret: None, changed: dict[str, object], code: str | None,
    severity: str | None,
) -> None:  # fmt: skip
    order = ORDER if changed.get("kind", "llm") == "llm" else ""
    (tmp_path / "domicile.toml").write_text(sink("acme-eu", **changed) + order, encoding="utf-8")
    exit_code, found = run(capsys, tmp_path, "check")
    assert [(finding["code"], finding["severity"]) for finding in found["findings"]] == (
        [(code, severity)] if code else []
    )
    assert exit_code == (2 if severity == "error" else 0)


def test_secrets_orders_and_ceilings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ceiling = '[tenants.swiss]\norder = ["acme-eu"]\n[tenants.swiss.label]\nregions = ["ch"]\n'
    (tmp_path / "domicile.toml").write_text(sink("acme-eu") + sink("spare") + ceiling, encoding="utf-8")
    code, found = run(capsys, tmp_path, "check")
    assert code == 0
    assert sorted((finding["subject"], finding["code"]) for finding in found["findings"]) == [
        ("acme-eu", "no_secret"), ("spare", "in_no_order"), ("spare", "no_secret"), ("swiss", "ceiling"),
        ("swiss", "no_such_tenant"),
    ]  # fmt: skip
    assert "the label allows ch" in by_code(found)["ceiling"]["message"]


def test_documents_are_listed_up_to_a_bound_and_all_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], secret: None
) -> None:
    documents = {f"n{i:02}.md": f"# Note {i}\n\nNobody labelled note {i}.\n" for i in range(13)}
    home = home_with(tmp_path, documents, settings=sink("acme-eu") + ORDER)
    finding = by_code(run(capsys, home.path, "check", "--collection", "handbook")[1])["unlabelled"]
    assert finding["documents"] == [f"n{i:02}.md" for i in range(10)]
    assert finding["count"] == 13
    main(["--home", str(home.path), "policy", "check"])
    assert "n09.md and 3 more" in capsys.readouterr().out


def test_what_was_deleted_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str], secret: None) -> None:
    from services import ingest

    home = home_with(tmp_path, DOCUMENTS, settings=sink("acme-eu") + ORDER)
    (tmp_path / "source" / "bare.md").unlink()
    (tmp_path / "source" / "eu2.md").unlink()
    ingest(home, tmp_path / "source")
    _, found = run(capsys, home.path, "check")
    assert "unlabelled" not in by_code(found)
    assert sum(row["documents"] for row in found["collections"]["handbook"]["labels"]) == 8


def test_a_wrong_setting_and_an_unknown_collection_are_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "domicile.toml").write_text(sink("acme-eu", processing_regions=["EU"]), encoding="utf-8")
    code, found = run(capsys, tmp_path, "check")
    assert code == 2
    assert "processing_regions: unknown region 'EU'" in found["error"]["message"]
    (tmp_path / "domicile.toml").write_text("", encoding="utf-8")
    assert run(capsys, tmp_path, "check", "--collection", "nothing")[0] == 2


def recorded(home: Home) -> tuple[str, str]:
    """Ids of an answer that was made here, and of a record of what was sent."""
    (declared,) = home.sinks()
    parts = (
        Part("question", "default", labels.PartialLabel()),
        Part("document", "default", labels.partial_of(next(iter(census(home)))), "board.md"),
    )
    label = payload.label_of(parts)
    reasons = decide(label, declared, "answer", datetime.now(UTC)).reasons
    assert reasons
    decision = Decision("local", "local", "small", "local", label, (("acme-eu", reasons),))
    given = Answer("No.", False, "kept", "handbook", 1, (), decision)
    body = receipts.answer(
        given,
        OWNER,
        "default",
        "Who?",
        parts,
        [(declared, label)],
        [],
        home.regions,
        mode="escalate",
        policy_version="p",
    )
    sent = receipts.egress(
        declared, label, parts, home.regions, key="k", collection="handbook", purpose="answer", policy_version="p",
        attempt=1, body_sha256="c0ffee",
        body_bytes=3,
    )  # fmt: skip
    log = home.audit()
    return log.append("answer", body).id, log.append("egress", sent).id


def census(home: Home) -> dict[Any, Any]:
    return home.indexes().pin("handbook", OWNER).census(10)


def test_a_receipt_is_explained_from_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = home_with(tmp_path, {"board.md": DOCUMENTS["board.md"]}, settings=sink("acme-eu") + ORDER)
    receipt, sent = recorded(home)
    code, told = run(capsys, home.path, "explain", "--receipt", receipt)
    assert code == 0
    assert told["id"] == receipt
    assert told["consistent"] is True
    assert told["route"] == "local"
    assert told["sinks"][0]["reasons"][0]["says"] == (
        "region: acme-eu processes in eu; the label allows local (by document board.md)"
    )
    assert run(capsys, home.path, "explain", "--receipt", sent)[1]["consistent"] is False, "policy forbids it"
    assert main(["--home", str(home.path), "policy", "explain", "--receipt", receipt]) == 0
    said = capsys.readouterr().out
    assert "The model that runs here answered (small); nothing left this process." in said
    assert "acme-eu: did not receive it" in said
    assert "the same reasons" in said


def test_explaining_needs_neither_the_declarations_nor_the_collection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_with(tmp_path, {"board.md": DOCUMENTS["board.md"]}, settings=sink("acme-eu") + ORDER)
    receipt, _ = recorded(home)
    before = run(capsys, home.path, "explain", "--receipt", receipt)
    (home.path / "domicile.toml").write_text("", encoding="utf-8")
    (home.path / "data").rename(tmp_path / "gone")
    assert run(capsys, home.path, "explain", "--receipt", receipt) == before


def test_an_unknown_receipt_is_exit_2_and_a_touched_one_exit_6(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_with(tmp_path, {"board.md": DOCUMENTS["board.md"]}, settings=sink("acme-eu") + ORDER)
    assert run(capsys, home.path, "explain", "--receipt", "r_nothing")[0] == 2
    receipt, _ = recorded(home)
    assert run(capsys, home.path, "explain", "--receipt", receipt)[0] == 0
    touched = 0
    for file in sorted((home.path / "audit").iterdir()):
        text = file.read_bytes()
        if b'"board.md"' in text:
            file.write_bytes(text.replace(b'"board.md"', b'"bored.md"'))
            touched += 1
    assert touched == 1
    assert run(capsys, home.path, "explain", "--receipt", receipt)[0] == 6
