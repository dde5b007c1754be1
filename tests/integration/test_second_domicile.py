"""A second ``domicile serve`` as the hosted provider of the first: answer, receipts and money are right on both sides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import command, serving
from residency import ASK_CANTEEN, ASK_REACTOR, ASK_WARRANTY, CANTEEN, DOCUMENTS, REACTOR, WARRANTY, routed, sink

PRICE = {"price": "{ input_per_million = 2.0, output_per_million = 8.0 }"}
TOKENS = ("prompt_tokens", "completion_tokens")
THEIRS = {
    "canteen.md": f"# Canteen\n\n{CANTEEN} It is on the ground floor.\n",
    "warranty.md": f"# Warranty\n\n{WARRANTY} It covers spare parts.\n",
    "reactor.md": "# Reactor\n\nThe second house has no reactor and knows no code name of it.\n",
}


@dataclass(frozen=True, slots=True)
class House:
    """A home with its documents."""

    path: Path

    @classmethod
    def built(cls, path: Path, models: Path, documents: dict[str, str], collection: str) -> House:
        (path / "source").mkdir(parents=True)
        for name, text in documents.items():
            (path / "source" / name).write_text(text, encoding="utf-8")
        (path / "home").mkdir()
        (path / "home" / "models").symlink_to(models)
        house = cls(path / "home")
        house.command("ingest", "run", path / "source", "--collection", collection)
        return house

    def command(self, *arguments: str | Path) -> dict[str, Any]:
        return command(self.path, *arguments)

    @contextmanager
    def serving(self, **environment: str) -> Iterator[str]:
        with serving(self.path, self.path.with_name("log"), environment) as url:
            yield url

    def entries(self) -> int:
        entries: int = self.command("audit", "verify")["entries"]
        return entries

    def newest_answer(self) -> dict[str, Any]:
        """The receipt of the last answer, as the log has it."""
        lines = [
            line for file in sorted((self.path / "audit").glob("*.log")) for line in file.read_bytes().splitlines()
        ]
        parsed = [json.loads(line.split(b" ", 2)[2]) for line in lines]
        answers: list[dict[str, Any]] = [record for record in parsed if record["kind"] == "answer"]
        return answers[-1]


@dataclass(frozen=True, slots=True)
class Both:
    first: House
    second: House
    client: httpx.Client
    key: dict[str, Any]

    def ask(self, question: str) -> dict[str, Any]:
        body = {"model": "handbook", "messages": [{"role": "user", "content": question}]}
        response = self.client.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        told: dict[str, Any] = response.json()["domicile"]
        return told


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Both]:
    path = tmp_path_factory.mktemp("both")
    second = House.built(path / "second", models_dir, THEIRS, "theirs")
    (second.path / "domicile.toml").write_text("[costs]\ncpu_hour = 0.9\n")
    first = House.built(path / "first", models_dir, DOCUMENTS, "handbook")
    key = second.command("keys", "create")
    with second.serving() as there:
        neighbour = {"model": '"openai/theirs"', "api_key": '{ env = "SECOND_KEY" }', **PRICE}
        (first.path / "domicile.toml").write_text(
            sink("neighbour", f"{there}/v1", **neighbour) + routed("neighbour", "local")
        )
        with (
            first.serving(SECOND_KEY=key["key"]) as here,
            httpx.Client(base_url=here, trust_env=False, timeout=120) as client,
        ):
            yield Both(first, second, client, key)


def test_what_is_cleared_is_answered_by_the_second_and_both_have_a_receipt(both: Both) -> None:
    told = both.ask(ASK_CANTEEN)
    theirs = both.second.newest_answer()
    assert (told["decision"]["route"], told["decision"]["sink"]) == ("hosted", "neighbour"), told
    assert (told["grounded"], told["degraded"]) == ("kept", None)
    assert CANTEEN in told["answer"]
    assert [citation["document"] for citation in told["citations"]] == ["canteen.md"]
    assert told["citations"][0]["quote"] == CANTEEN
    assert theirs["decision"]["route"] == "local"
    assert theirs["key"] == both.key["id"]
    for house, receipt in ((both.first, told["receipt"]), (both.second, theirs["id"])):
        assert house.command("receipts", "verify", receipt)["ok"]
        assert house.command("audit", "verify")["ok"]
    explained = both.first.command("policy", "explain", "--receipt", told["receipt"])
    assert "neighbour" in json.dumps(explained)


def test_each_side_counts_its_own_money(both: Both) -> None:
    told = both.ask(ASK_WARRANTY)
    theirs = both.second.newest_answer()
    assert told["decision"]["route"] == "hosted"
    spent = theirs["usage"]
    assert [told["usage"][name] for name in TOKENS] == [spent[name] for name in TOKENS]
    assert spent["completion_tokens"] > 0
    paid = (spent["prompt_tokens"] * 2.0 + spent["completion_tokens"] * 8.0) / 1e6
    assert told["cost"] == {"currency": "USD", "amount": pytest.approx(paid, abs=1e-9)}
    computed = spent["cpu_seconds"] / 3600 * 0.9
    assert computed <= theirs["cost"]["amount"] < 2 * computed  # finding the evidence took CPU time, too
    [bought], [made] = (house.command("cost", "report")["rows"] for house in (both.first, both.second))
    assert (bought["sink"], made["sink"]) == ("neighbour", "local")
    assert [bought[name] for name in TOKENS] == [made[name] for name in TOKENS]
    assert bought["amount"] == pytest.approx((bought["prompt_tokens"] * 2.0 + bought["completion_tokens"] * 8.0) / 1e6)
    assert made["amount"] >= made["cpu_seconds"] / 3600 * 0.9 > 0


def test_what_is_restricted_never_gets_there(both: Both) -> None:
    before = both.second.entries()
    told = both.ask(ASK_REACTOR)
    assert told["decision"]["route"] == "local"
    assert REACTOR in told["answer"]
    assert told["decision"]["denied"] == [
        {"sink": "neighbour", "reasons": ["region", "storage", "sensitivity", "hosted"]}
    ]
    assert both.second.entries() == before


def test_without_a_valid_key_the_first_answers_itself(both: Both) -> None:
    """The last one: the key is gone after it."""
    both.second.command("keys", "revoke", both.key["id"])
    before = both.second.entries()
    told = both.ask(f"{ASK_CANTEEN} Please.")
    assert (told["decision"]["route"], told["degraded"]) == ("local", "provider")
    assert told["decision"]["denied"] == [{"sink": "neighbour", "reasons": ["rejected"]}]
    assert CANTEEN in told["answer"]
    assert both.second.entries() == before
