"""A corpus of mixed labels, sinks on loopback, and what the audit log says of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from domicile.bootstrap import Home

CANTEEN = "The canteen opens at eleven thirty every working day."
REACTOR = "The reactor code name is Bluebird and it starts in May."
PARKING = "The parking garage closes at ten in the evening."
WARRANTY = "The pump warranty lasts 36 months after delivery."
_CLEARED = "{regions: [eu, local], sensitivity: internal, hosted: true}"
_WORLD = "{regions: [global], sensitivity: public, hosted: true, retention_days: 30}"
_SECRET = "{regions: [local], sensitivity: restricted, hosted: false}"
DOCUMENTS = {
    "canteen.md": f"---\ndomicile:\n  label: {_CLEARED}\n---\n# Canteen\n\n{CANTEEN}\n",
    "warranty.md": f"---\ndomicile:\n  label: {_WORLD}\n---\n# Warranty\n\n{WARRANTY}\n",
    "reactor.md": f"---\ndomicile:\n  label: {_SECRET}\n---\n# Reactor\n\n{REACTOR}\n",
    "parking.md": f"# Parking\n\n{PARKING}\n",  # nobody said what it is
}
ASK_CANTEEN = "When does the canteen open?"
ASK_REACTOR = "What is the code name of the reactor?"
ASK_PARKING = "When does the parking garage close?"
ASK_WARRANTY = "How long does the pump warranty last?"
KEYS = {"ACME_KEY": "test-key-of-a-provider"}


def sink(name: str, url: str, **changed: Any) -> str:
    """A ``[[sinks]]`` table; ``changed`` values are TOML."""
    declared = {
        "name": f'"{name}"',
        "model": '"openai/gpt-x"',
        "api_base": f'"{url}"',
        "api_key": '{ env = "ACME_KEY" }',
        "processing_regions": '["de"]',
        "storage_regions": '["eu"]',
        "retention_days": "0",
        "training": "false",
        "human_review": "false",
        "max_sensitivity": '"internal"',
        "categories": "[]",
        "purposes": '["answer"]',
        "price": "{ input_per_million = 0.15, output_per_million = 0.60 }",
        **changed,
    }
    return "[[sinks]]\n" + "".join(f"{key} = {value}\n" for key, value in declared.items() if value is not None)


def routed(*names: str) -> str:
    return f"[routing]\norder = {json.dumps(names)}\n"


def records(home: Home, kind: str) -> list[dict[str, Any]]:
    """The records of a kind as they stand in the audit log, in their order."""
    lines = [
        line.split(b" ", 2)[2]
        for file in sorted(Path(home.path / "audit").glob("*.log"))
        for line in file.read_bytes().splitlines()
    ]
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def hashes(bodies: list[bytes]) -> list[str]:
    return [hashlib.sha256(body).hexdigest() for body in bodies]
