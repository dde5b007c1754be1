"""A generated organisation: documents of every label with canaries in all their places, keys, sinks, and what people ask.

Everything follows from one seed. Labels, sinks and tenants are kept as the plain tables that people write, for
``residency_oracle`` to judge by.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from canaries import Mint

Table = dict[str, Any]
Place = Literal["text", "title", "heading", "path", "metadata", "table", "filler"]
Past = Literal["none", "kept", "trimmed", "altered"]

_EU: Table = {"regions": ["eu", "local"], "sensitivity": "internal", "hosted": True}
_WORLD: Table = {"regions": ["global"], "sensitivity": "public", "hosted": True, "retention_days": 30}
_US: Table = {"regions": ["us", "local"], "sensitivity": "internal", "hosted": True, "retention_days": 30}
_LOCAL: Table = {"regions": ["local"], "sensitivity": "restricted", "hosted": False}
LABELS: dict[str, tuple[Table | None, Table | None]] = {
    "public": (_WORLD, None),
    "eu": (_EU, None),
    "us": (_US, None),
    "germany": ({**_EU, "regions": ["de"]}, None),
    "confidential": ({**_EU, "sensitivity": "confidential"}, None),
    "restricted": ({**_EU, "sensitivity": "restricted"}, None),
    "pii": ({**_EU, "categories": ["pii"]}, None),
    "health": ({**_WORLD, "categories": ["pii", "health"]}, None),
    "own machines": ({**_EU, "hosted": False}, None),
    "kept by nobody": ({**_WORLD, "retention_days": 0}, None),
    "evaluation": ({**_WORLD, "purposes": ["eval"]}, None),
    "local": (_LOCAL, None),
    "unlabelled": (None, None),
    "half": ({"regions": ["global"], "sensitivity": "public"}, None),
    "upper case": ({**_WORLD, "regions": ["EU"]}, None),
    "padded": ({**_WORLD, "sensitivity": " public"}, None),
    "nowhere": ({**_WORLD, "regions": []}, None),
    "truthy": ({**_WORLD, "hosted": "yes"}, None),
    "unknown field": ({**_WORLD, "valid_until": "2020-01-01"}, None),
    "sidecar": (None, _EU),
    "narrowed": (_WORLD, {"sensitivity": "confidential", "regions": ["eu"]}),
    "contradictory": (_EU, _US),
    "vault": (_WORLD, None),  # a rule restricts its folder
}
"""What stands in the front matter of a document of each kind, and in its sidecar."""
OFTEN_ASKED = ("public", "us", "eu", "sidecar")
"""What some sink may have, so that sinks have something to do."""
ACME_EU: Table = {
    "name": "acme-eu",
    "model": "openai/gpt-eu",
    "processing_regions": ["de"],
    "storage_regions": ["de", "fr"],
    "retention_days": 0,
    "training": False,
    "human_review": False,
    "max_sensitivity": "internal",
    "categories": [],
    "purposes": ["answer"],
}
SINKS: dict[str, Table] = {
    "acme-eu": ACME_EU,
    "acme-us": {
        **ACME_EU,
        "name": "acme-us",
        "processing_regions": ["us"],
        "storage_regions": ["us"],
        "retention_days": 7,
        "human_review": True,
    },
    "own-de": {
        **ACME_EU,
        "name": "own-de",
        "storage_regions": ["de"],
        "max_sensitivity": "confidential",
        "categories": ["pii"],
        "self_hosted": True,
    },
    "later-eu": {**ACME_EU, "name": "later-eu", "valid_from": "2999-01-01", "max_sensitivity": "restricted"},
}
ORDERS = {
    "default": ["later-eu", "acme-eu", "acme-us", "own-de", "local"],
    "north": ["acme-us", "acme-eu", "local"],
    "south": ["own-de", "later-eu", "acme-eu"],
}
CEILINGS: dict[str, Table] = {"south": {"regions": ["eu", "local"]}}
COLLECTIONS: dict[str, Table] = {
    "handbook": {"tenant": "default", "groups": [], "mode": "escalate", "label": {}},
    "archive": {"tenant": "default", "groups": [], "mode": "cleared", "label": {}},
    "minutes": {"tenant": "default", "groups": ["board"], "mode": "escalate", "label": {}},
    "northern": {"tenant": "north", "groups": [], "mode": "escalate", "label": {"retention_days": 7}},
    "southern": {"tenant": "south", "groups": [], "mode": "cleared", "label": {}},
}
VAULT: Table = {"sensitivity": "restricted", "hosted": False}
PROVIDER_CANARY = "sk-of-a-provider-7f3a"
_KINDS = ("depot", "pump station", "laboratory", "warehouse", "server room", "workshop", "ferry", "orchard")
_MONTHS = ("January", "February", "March", "April", "June", "July", "October", "November")


@dataclass(frozen=True, slots=True, eq=False)
class Paper:
    """A document. ``sources`` of its label are as they were written, the collection's and a rule's included."""

    collection: str
    path: str
    label: str
    name: str
    kind: str
    sources: tuple[Table, ...]
    canaries: Mapping[Place, str]
    file: str
    sidecar: str | None

    @property
    def tenant(self) -> str:
        return str(COLLECTIONS[self.collection]["tenant"])


@dataclass(frozen=True, slots=True)
class Key:
    """A bearer; ``groups`` is ``None`` for the owner of the home, who has no key."""

    name: str
    tenant: str | None
    groups: frozenset[str] | None


OWNER = Key("owner", None, None)
KEYS = (
    Key("clerk", "default", frozenset()),
    Key("hr", "default", frozenset({"hr"})),
    Key("board", "default", frozenset({"hr", "board"})),
    Key("northerner", "north", frozenset({"hr"})),
    Key("southerner", "south", frozenset()),
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question.

    Attributes:
        past: what the client makes of the conversation so far when it sends it along.
        leaning: whether only the conversation so far says what it is about.
    """

    question: str
    about: Paper
    past: Past = "none"
    flags: Table = field(default_factory=dict)
    stream: bool = False
    leaning: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    key: Key
    collection: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class World:
    papers: tuple[Paper, ...]

    @classmethod
    def generated(cls, seed: int, papers: int) -> World:
        chance = random.Random(seed)
        mint = Mint(chance)
        names = list(COLLECTIONS)
        kinds = list(LABELS)
        return cls(tuple(_paper(chance, mint, names[i % len(names)], kinds[i % len(kinds)]) for i in range(papers)))

    def write(self, folder: Path) -> None:
        """The documents, each collection in a folder of its name."""
        for paper in self.papers:
            path = folder / paper.collection / paper.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(paper.file, encoding="utf-8")
            if paper.sidecar is not None:
                path.with_name(f"{path.name}.label.toml").write_text(paper.sidecar, encoding="utf-8")

    def conversations(self, seed: int, count: int, keys: tuple[Key, ...] = KEYS) -> list[Conversation]:
        """Of 2 to 5 turns each."""
        chance = random.Random(seed)
        return [self._conversation(chance, keys[i % len(keys)]) for i in range(count)]

    def _conversation(self, chance: random.Random, key: Key) -> Conversation:
        collection = chance.choice([name for name, own in COLLECTIONS.items() if may_enter(key, own)])
        papers = [paper for paper in self.papers if paper.collection == collection]
        return Conversation(key, collection, tuple(_turns(chance, papers, collection)))


def may_enter(key: Key, collection: Table) -> bool:
    of_tenant = key.tenant in (None, collection["tenant"])
    return of_tenant and (
        not collection["groups"] or key.groups is None or bool(key.groups & set(collection["groups"]))
    )


def settings(urls: Mapping[str, str], seconds: float) -> str:
    """``domicile.toml`` with the sinks at these addresses, each of which has so many seconds for an answer."""
    tables = [
        "[answering]\nevidence_threshold = 0.05\n",
        f"[routing]\norder = {json.dumps(ORDERS['default'])}\nprovider_seconds = {seconds}\nmax_tokens = 200\n",
    ]
    for name, sink in SINKS.items():
        valid = {"valid_from": sink["valid_from"]} if "valid_from" in sink else {}
        tables.append("[[sinks]]\n" + _toml({key: value for key, value in sink.items() if key not in valid}))
        tables.append("".join(f"{key} = {day}\n" for key, day in valid.items()))
        tables.append(f'api_base = "{urls[name]}"\napi_key = {{ env = "SINK_KEY" }}\n')
        tables.append("price = { input_per_million = 0.15, output_per_million = 0.60 }\n")
    for tenant in ("north", "south"):
        tables.append(f"[tenants.{tenant}]\norder = {json.dumps(ORDERS[tenant])}\n")
        tables.append(f"[tenants.{tenant}.label]\n{_toml(CEILINGS[tenant])}" if tenant in CEILINGS else "")
    for name, own in COLLECTIONS.items():
        tables.append(f"[collections.{name}]\n{_toml({key: own[key] for key in ('tenant', 'groups', 'mode')})}")
        tables.append(f"[collections.{name}.label]\n{_toml(own['label'])}")
        tables.append(
            f'[[collections.{name}.rules]]\npath = "vault/**"\n[collections.{name}.rules.label]\n{_toml(VAULT)}'
        )
    return "\n".join(tables)


def _toml(table: Table) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def _paper(chance: random.Random, mint: Mint, collection: str, label: str) -> Paper:
    canaries: dict[Place, str] = {
        place: mint.canary() for place in ("text", "title", "heading", "path", "metadata", "table", "filler")
    }
    name, kind, month, number = mint.name(), chance.choice(_KINDS), chance.choice(_MONTHS), chance.randint(11, 99)
    front, sidecar = LABELS[label]
    if front is not None and chance.random() < 0.2:
        front = {**front, "groups": [chance.choice(["hr", "board"])]}
    meta: Table = {"title": f"{name} {canaries['title']}", "author": canaries["metadata"]}
    if front is not None:
        meta["domicile"] = {"label": front}
    file = f"""---
{json.dumps(meta, ensure_ascii=False)}
---
# {name} {kind}

## Plan {canaries["heading"]}

The {name} {kind} opens in {month} 20{number} under the code name {canaries["text"]}.
The {name} {kind} is run by a team of {number} people whose leader is called {canaries["filler"]}.

| Week of {name} | Visits by {canaries["table"]} |
|---|---|
| {number} | {number * 7} |
"""
    ruled = (VAULT,) if label == "vault" else ()
    sources = (*filter(None, (front, sidecar, COLLECTIONS[collection]["label"])), *ruled)
    folder = "vault" if label == "vault" else chance.choice(["plans", "notes/old"])
    return Paper(
        collection,
        f"{folder}/{canaries['path'].lower()}.md",
        label,
        name,
        kind,
        sources,
        canaries,
        file,
        None if sidecar is None else _toml(sidecar),
    )


def _turns(chance: random.Random, papers: list[Paper], collection: str) -> Iterator[Turn]:
    leaving = [paper for paper in papers if paper.label in OFTEN_ASKED]
    paper = chance.choice(papers)
    for number in range(chance.randint(2, 5)):
        pasts: list[Past] = ["kept", "kept", "kept", "trimmed", "altered"]
        past = chance.choice(pasts) if number and chance.random() < 0.7 else "none"
        again = number > 0 and chance.random() < 0.4
        if not again:
            paper = chance.choice(leaving if chance.random() < 0.4 else papers)
        elif past != "none" and chance.random() < 0.7:
            yield Turn("And what is the leader of its team called?", paper, past, leaning=True)
            continue
        question = chance.choice(
            [
                f"When does the {paper.name} {paper.kind} open?",
                f"What is the leader of the team of the {paper.name} {paper.kind} called?",
            ]
        )
        if chance.random() < 0.1:
            question += " Mine is joe.miller@example.org."
        flags = _flags(chance, collection) if chance.random() < 0.25 else {}
        yield Turn(question, paper, past, flags, chance.random() < 0.3)


def _flags(chance: random.Random, collection: str) -> Table:
    """What narrows, and stays within the ceiling of the tenant."""
    european: list[Table] = [
        {"regions": ["eu"]},
        {"regions": ["de"]},
        {"regions": ["local"]},
        {"regions": ["fr", "de"]},
    ]
    others: list[Table] = [{"regions": ["us"]}, {"sensitivity": "confidential"}, {"hosted": False}]
    return chance.choice(european if COLLECTIONS[collection]["tenant"] in CEILINGS else european + others)
