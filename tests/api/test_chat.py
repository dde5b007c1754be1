"""The chat route, through the official client and through raw HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from services import LEAVE, Served, home_with, served, service_over, until

from domicile.answering import ABSTAINED, Limits
from domicile.errors import Overloaded
from domicile.testing import ScriptedGenerator

QUESTION = "How long does parental leave last?"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    with served(service_over(home_with(tmp_path))) as running:
        yield running


@pytest.fixture
def client(service: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{service.url}/v1", api_key="none", max_retries=0, http_client=httpx.Client(trust_env=False)
    ) as made:
        yield made


def ask(service: Served, question: str = QUESTION, **fields: object) -> httpx.Response:
    body = {"model": "handbook", "messages": [{"role": "user", "content": question}], **fields}
    with service.client() as client:
        return client.post("/v1/chat/completions", json=body)


def test_official_client_gets_an_answer_with_verified_quotes(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="handbook", messages=[{"role": "user", "content": QUESTION}])
    message = reply.choices[0].message
    extra = reply.model_extra
    assert message.content is not None
    assert extra is not None
    given = extra["domicile"]
    assert message.content == given["answer"]
    assert message.content.startswith(f"{LEAVE} [1]")
    assert given["grounded"] == "kept"
    assert [c["quote"] for c in given["citations"]] == [LEAVE]
    assert all(c["verified"] for c in given["citations"])
    assert given["decision"]["route"] == "local"
    assert message.annotations is not None
    citation = message.annotations[0].url_citation
    assert message.content[citation.start_index : citation.end_index] == "[1]"
    assert reply.usage is not None
    assert reply.usage.total_tokens == given["usage"]["total_tokens"] > 0


def test_official_client_streams_the_same_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="handbook", messages=[{"role": "user", "content": QUESTION}])
    chunks = list(
        client.chat.completions.create(
            model="handbook",
            messages=[{"role": "user", "content": QUESTION}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    finish = next(chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason == "stop")
    assert finish.model_extra is not None
    assert finish.model_extra["domicile"]["answer"] == text
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None


def test_stream_has_the_form_that_all_clients_accept(service: Served) -> None:
    lines = [line for line in ask(service, stream=True).text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert all(chunk["choices"] for chunk in chunks)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    kinds = [
        "annotations" if "annotations" in delta else "content" if "content" in delta else "finish" for delta in deltas
    ]
    assert kinds.index("annotations") > max(i for i, kind in enumerate(kinds) if kind == "content")
    assert kinds[-1] == "finish"
    assert "domicile" in chunks[-1]


def test_what_no_quote_supports_is_replaced_by_the_quote(tmp_path: Path) -> None:
    llm = ScriptedGenerator(["Parental leave lasts 52 weeks in Utrecht. And then it goes on and on for ever."])
    with served(service_over(home_with(tmp_path), llm)) as service:
        given = ask(service).json()["domicile"]
    assert given["grounded"] == "replaced"
    assert given["decision"]["route"] == "local"
    assert "52" not in given["answer"]
    # stopped at the first sentence, and what it had written by then is counted
    assert 7 <= given["usage"]["completion_tokens"] <= 9
    assert given["usage"]["prompt_tokens"] > 0
    assert LEAVE in given["answer"]


@pytest.mark.parametrize("state", ["missing", "damaged", "loading"])
def test_without_the_model_the_best_sentences_answer(tmp_path: Path, state: str) -> None:
    llm = ScriptedGenerator(state=state)  # type: ignore[arg-type]
    with served(service_over(home_with(tmp_path), llm)) as service:
        given = ask(service).json()["domicile"]
    assert (given["grounded"], given["degraded"]) == ("extractive", "model")
    assert given["decision"]["route"] == "extractive"
    assert given["decision"]["sink"] is None
    assert LEAVE in given["answer"]


def test_extractive_mode_never_runs_the_model(tmp_path: Path) -> None:
    llm = ScriptedGenerator([LEAVE])
    with served(service_over(home_with(tmp_path), llm)) as service:
        given = ask(service, domicile={"mode": "extractive"}).json()["domicile"]
    assert (given["grounded"], given["degraded"], given["decision"]["route"]) == ("extractive", None, "extractive")
    assert llm.prompts == []


def test_weak_evidence_abstains_in_words(service: Served) -> None:
    given = ask(service, "Which volcano erupted on Thursday?").json()["domicile"]
    assert given["abstained"]
    assert given["answer"] == ABSTAINED
    assert given["citations"] == []
    assert (given["decision"]["route"], given["decision"]["sink"], given["grounded"], given["degraded"]) == (
        "extractive",
        None,
        "extractive",
        None,
    )


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nowhere"}, 404, None),
        ({"model": "../etc"}, 400, "collection"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "word " * 400}]}, 400, "messages"),
        ({"messages": "hello"}, 400, "messages"),
        ({"domicile": {"regions": ["EU"]}}, 400, "regions"),
        ({"domicile": {"regions": [" eu"]}}, 400, "regions"),
        ({"domicile": {"sensitivity": "secret"}}, 400, "sensitivity"),
        ({"domicile": {"colour": "blue"}}, 400, "domicile.colour"),
        ({"domicile": {"hosted": 0}}, 400, "domicile.hosted"),
        ({"domicile": {"hosted": "no"}}, 400, "domicile.hosted"),
        ({"domicile": None}, 400, "domicile"),
    ],
)
def test_bad_input_is_refused_in_openais_form(
    service: Served, fields: dict[str, object], status: int, param: str | None
) -> None:
    reply = ask(service, **fields)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert error["message"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


def test_a_malformed_residency_header_is_refused(service: Served) -> None:
    body = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}]}
    with service.client() as client:
        assert (
            client.post("/v1/chat/completions", json=body, headers={"X-Domicile-Residency": "eu, local"}).status_code
            == 400
        )
        assert (
            client.post("/v1/chat/completions", json=body, headers={"X-Domicile-Residency": "eu,local"}).status_code
            == 200
        )


def test_every_residency_header_counts_and_each_narrows(service: Served) -> None:
    def regions(*headers: str) -> httpx.Response:
        body = {
            "model": "handbook",
            "messages": [{"role": "user", "content": QUESTION}],
            "domicile": {"mode": "extractive"},
        }
        with service.client() as client:
            return client.post(
                "/v1/chat/completions", json=body, headers=[("X-Domicile-Residency", header) for header in headers]
            )

    assert regions("local,eu").json()["domicile"]["decision"]["label"]["regions"] == ["local"]
    assert regions("local,eu", "eu").json()["domicile"]["decision"]["label"]["regions"] == []
    assert regions("local,eu", "EU").status_code == 400


def test_flags_narrow_the_payloads_label(service: Served) -> None:
    label = ask(service, domicile={"regions": ["de"], "hosted": False}).json()["domicile"]["decision"]["label"]
    assert label["hosted"] is False
    assert label["regions"] in ([], ["de"])


def test_tools_parts_and_unknown_fields_are_accepted(service: Served) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
    ]
    nulls = {"stream": None, "stream_options": None, "n": None}
    reply = ask(service, messages=messages, tools=[{"type": "function"}], temperature=0.3, verbosity="low", **nulls)
    assert reply.json()["choices"][0]["message"]["content"].startswith(LEAVE)


PUMP = "The pump P-40 must be checked every 12 weeks by a technician."
CHECKED = "After how many weeks must it be checked by a technician?"


def talk(service: Served, *turns: tuple[str, str]) -> dict[str, Any]:
    """The ``domicile`` object of the answer to the last of these turns."""
    messages = [{"role": role, "content": text} for role, text in turns]
    reply = ask(service, messages=messages, domicile={"mode": "extractive"})
    assert reply.status_code == 200
    given: dict[str, Any] = reply.json()["domicile"]
    return given


def test_a_follow_up_is_asked_with_what_it_refers_to(service: Served) -> None:
    given = talk(service, ("user", "Where does pump P-40 stand?"), ("user", CHECKED))
    assert given["asked"] == f"{CHECKED} (P-40)"
    assert [c["quote"] for c in given["citations"]] == [PUMP]
    alone = talk(service, ("user", CHECKED))
    assert "asked" not in alone


def test_a_follow_up_means_the_edition_that_was_spoken_of(tmp_path: Path) -> None:
    policy = (
        "---\ntitle: Travel policy {0}\n---\n# Travel policy {0}\n\nThe maximum for a hotel is {1} euros a night.\n"
    )
    home = home_with(tmp_path, {"a.md": policy.format(2023, 135), "b.md": policy.format(2025, 165)})
    earlier = ("user", "What does the Travel policy 2023 say about meals?")
    asked = ("user", "What is its maximum for a hotel?")
    with served(service_over(home)) as service:
        assert [c["document"] for c in talk(service, earlier, asked)["citations"]] == ["a.md"]
        assert [c["document"] for c in talk(service, asked)["citations"]] == ["b.md"]  # control
        later = ("user", "What is the maximum for a hotel in the Travel policy 2025?")
        then = ("user", "And in 2023?")
        assert [c["document"] for c in talk(service, later, then)["citations"]] == ["a.md"]


def test_the_model_is_asked_the_self_contained_question(tmp_path: Path) -> None:
    llm = ScriptedGenerator(["The pump P-40 must be checked every 12 weeks."])
    with served(service_over(home_with(tmp_path), llm)) as service:
        turns = [{"role": "user", "content": text} for text in ("Where is the P-40 pump?", "When must it be checked?")]
        given = ask(service, messages=turns).json()["domicile"]
    assert given["grounded"] == "kept"
    assert llm.prompts[0].messages[-1].content.endswith("Question: When must it be checked? (P-40)")


def test_a_question_that_stands_alone_is_asked_as_it_was_written(service: Served) -> None:
    after = talk(service, ("user", "Where does pump P-40 stand?"), ("assistant", PUMP), ("user", QUESTION))
    alone = talk(service, ("user", QUESTION))
    for given in (after, alone):
        for differs in (
            "timings_ms",
            "receipt",
            "decision",
            "cost",
        ):  # an answer that we did not give narrows the label
            del given[differs]
    assert after == alone
    assert "asked" not in after


def test_only_what_the_user_said_is_added(service: Served) -> None:
    others = [(role, f"The {role} speaks of Rollo.") for role in ("system", "developer", "assistant", "tool")]
    asked = ("user", CHECKED)
    assert "asked" not in talk(service, *others, asked)
    assert talk(service, ("user", "And the P-40?"), *others, asked)["asked"].endswith("? (P-40)")


def test_a_history_too_long_to_be_added_is_left_out(service: Served) -> None:
    asked = ("user", CHECKED)
    assert talk(service, ("user", "Is" + " P-40" * 5_000), asked)["asked"].endswith("? (P-40)")
    assert "asked" not in talk(service, ("user", "Is B1" + "-B1" * 160), asked)  # more word pieces than are read


def test_a_frontends_side_request_retrieves_nothing(tmp_path: Path) -> None:
    llm = ScriptedGenerator([LEAVE])
    with served(service_over(home_with(tmp_path), llm)) as service:
        reply = ask(service, f"### Task:\nGenerate a title.\n{QUESTION}")
    assert reply.json()["choices"][0]["message"]["content"] == "{}"
    assert llm.prompts == []


def test_marks_in_a_quote_are_not_taken_for_citations(tmp_path: Path) -> None:
    register = "Register entries [1] and [2] name the keeper of the valve archive."
    home = home_with(tmp_path, {"a.txt": f"{register}\n", "b.txt": f"{register[:-1]} today.\n"})
    with served(service_over(home)) as service:
        reply = ask(service, "Which register entries name the keeper?", domicile={"mode": "extractive"}).json()
    message = reply["choices"][0]["message"]
    citations = reply["domicile"]["citations"]
    assert len(citations) == len(message["annotations"]) == 2
    for citation, annotation in zip(citations, message["annotations"], strict=True):
        place = annotation["url_citation"]
        assert message["content"][place["start_index"] : place["end_index"]] == f"[{citation['n']}]"
        assert message["content"][: place["start_index"]].endswith(f"> {citation['quote']} ")


def test_a_documents_pictures_links_and_html_are_shown_as_text(tmp_path: Path) -> None:
    text = 'The valve ![plan](http://evil.example/a.png) and <img src="http://evil.example/b"> opens [at noon](http://evil.example).'
    home = home_with(tmp_path, {"x.txt": text})
    with served(service_over(home)) as service:
        reply = ask(service, "When does the valve opens at noon plan?", domicile={"mode": "extractive"}).json()
    given = reply["domicile"]
    assert given["citations"][0]["quote"] == text
    for active in ("![", "](", "<img"):
        assert active not in given["answer"]
    assert given["answer"].replace("\\", "").replace("&lt;", "<") == f"> {text} [1]"


def test_a_full_model_queue_is_503_with_retry_after(tmp_path: Path) -> None:
    llm = ScriptedGenerator([Overloaded("the language model", retry_after=7)])
    with served(service_over(home_with(tmp_path), llm)) as service:
        for stream in (False, True):
            reply = ask(service, stream=stream)
            assert reply.status_code == 503
            assert reply.headers["Retry-After"] == "7"
            assert reply.json()["error"]["type"] == "server_error"


def test_a_full_pool_refuses_at_once_and_liveness_stays_quick(tmp_path: Path) -> None:
    release = threading.Event()
    llm = ScriptedGenerator([LEAVE], before_token=lambda: release.wait(20) and None)
    with served(service_over(home_with(tmp_path), llm, queue=0)) as service:
        waiting = [threading.Thread(target=ask, args=(service,)) for _ in range(2)]
        for thread in waiting:
            thread.start()
        until(lambda: len(llm.prompts) == 2)
        refused = ask(service)
        with service.client() as client:
            live = client.get("/livez")
        release.set()
        for thread in waiting:
            thread.join(20)
        again = ask(service)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert live.elapsed.total_seconds() < 1
    assert again.status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_model_at_the_next_token(tmp_path: Path, stream: bool) -> None:
    tokens: list[int] = []
    gone = threading.Event()

    def count() -> None:
        tokens.append(1)
        if len(tokens) > 10:
            gone.wait(0.05)

    llm = ScriptedGenerator(["word " * 2_000], before_token=count)
    with served(service_over(home_with(tmp_path), llm, Limits(max_tokens=2_000))) as service:
        body = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}], "stream": stream}
        with service.client() as client, pytest.raises(httpx.ReadTimeout):
            client.post("/v1/chat/completions", json=body, timeout=0.6)
        until(lambda: _settled(tokens))
    assert 10 < len(tokens) < 1_000


def _settled(tokens: list[int]) -> bool:
    before = len(tokens)
    threading.Event().wait(0.3)
    return len(tokens) == before


def test_a_model_that_misses_the_deadline_is_given_up_and_said_to_be_slow(tmp_path: Path) -> None:
    llm = ScriptedGenerator(["slow " * 50], before_token=lambda: threading.Event().wait(0.05) and None)
    with served(service_over(home_with(tmp_path), llm, Limits(deadline=0.5))) as service:
        given = ask(service).json()["domicile"]
        with service.client() as client:
            ready = client.get("/readyz")
    assert (given["degraded"], given["grounded"]) == ("model", "extractive")
    assert ready.status_code == 200
    assert ready.json()["models"]["scripted"]["state"] == "slow"
