"""The demo: ingest the sample corpus, ask three questions, show how to serve. Uses the command line alone."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOMICILE = Path(sys.executable).with_name("domicile")
COLLECTION = "handbook"
QUESTIONS = (
    "How quickly does the standby Corrant 8 take over when the active one fails?",
    "How many days a year may I work from another EU country?",
    "What price may management negotiate for Project Alder?",
)
EXIT_SOME_FAILED = 3


def domicile(home: str, *arguments: str, accept: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Run one command and return its JSON object; its progress goes to the terminal."""
    done = subprocess.run(
        [str(DOMICILE), "--home", home, "--json", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in accept:
        sys.exit(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--home", default=".domicile")
    home = flags.parse_args().home
    print("== the sample corpus: the documents of an invented company")
    run = domicile(
        home,
        "ingest",
        "run",
        str(ROOT / "examples" / "handbook"),
        "--collection",
        COLLECTION,
        accept=(0, EXIT_SOME_FAILED),
    )
    print(
        f"   generation {run['generation']}: {run['chunks']:,} chunks, {run['embedded']:,} embedded now, {run['seconds']:.1f} s, "
        f"{run['documents']['failed']} documents failed"
    )
    for question in QUESTIONS:
        print(f"\n== {question}")
        given = domicile(home, "ask", question, "--collection", COLLECTION)
        print("   " + given["answer"].replace("\n", "\n   "))
        for citation in given["citations"]:
            page = f", page {citation['page']}" if citation["page"] else ""
            print(
                f"   [{citation['n']}] {citation['document']}{page}, characters {citation['start']} to {citation['end']}"
            )
        label = given["decision"]["label"]
        print(
            f"   route: {given['decision']['route']} · sensitivity of what was read: {label.get('sensitivity')} · may travel to: "
            f"{', '.join(label.get('regions', []))}{'' if label.get('hosted') else ' · never to a hosted model'}"
        )
    print(
        "\nServe it:  make serve   then point any OpenAI client at http://127.0.0.1:8000/v1 (model: handbook), for example\n"
        "  curl -s http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' \\\n"
        '    -d \'{"model":"handbook","messages":[{"role":"user","content":"' + QUESTIONS[1] + "\"}]}'"
    )


if __name__ == "__main__":
    main()
