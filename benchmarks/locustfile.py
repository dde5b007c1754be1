"""Users of a service for Locust: ``Searcher`` searches, ``Asker`` wants answers; each goes on as soon as it has one.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8000 --collection handbook --questions FILE Searcher

FILE has a question a line; all users together take one after the other. ``load.py`` starts this with a service of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

questions: Iterator[str]


@events.init_command_line_parser.add_listener
def flags(parser: LocustArgumentParser) -> None:
    parser.add_argument("--collection", default="handbook")
    parser.add_argument("--questions", help="a file with a question a line")
    parser.add_argument("--mode", default="extractive", help="of answers: auto, extractive or generate")


@events.test_start.add_listener
def read(environment: Environment, **_: Any) -> None:
    global questions
    questions = cycle(Path(environment.parsed_options.questions).read_text(encoding="utf-8").splitlines())


class Searcher(FastHttpUser):
    @task
    def search(self) -> None:
        body = {"collection": self.environment.parsed_options.collection, "query": next(questions)}
        with self.client.post("/v1/search", json=body, catch_response=True) as reply:
            if reply.status_code == 200 and not reply.json()["hits"]:
                reply.failure("no hits")


class Asker(FastHttpUser):
    @task
    def ask(self) -> None:
        options = self.environment.parsed_options
        messages = [{"role": "user", "content": next(questions)}]
        body = {"model": options.collection, "messages": messages, "domicile": {"mode": options.mode}}
        with self.client.post("/v1/chat/completions", json=body, catch_response=True) as reply:
            if reply.status_code == 200 and not reply.json()["choices"][0]["message"]["content"]:
                reply.failure("no words")
