"""Settings: what is wrong is refused in one line that names the key and what is allowed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from domicile.config import Settings
from domicile.errors import ConfigError


def load(home: Path, text: str = "", **environment: str) -> Settings:
    (home / "domicile.toml").write_text(text, encoding="utf-8")
    return Settings.load(home, environment)


def test_a_home_needs_no_file(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path / "nowhere", {"DOMICILE_HOME": "/x", "PATH": "/bin"})
    assert settings == Settings()
    collection = settings.collection("any")
    assert (collection.tenant, collection.groups, collection.mode) == ("default", None, "escalate")


@pytest.mark.parametrize(("text", "key", "allowed"), [
    ("x = 1", "'x'", "answering, audit, cache, collections"),
    ("[models]\nlmm = 'x'", "'models.lmm'", "embedder, engine, llm, precision, rerank_budget_ms, rerank_depth, "
     "reranker, threads"),
    ("[collections.hr]\ngroup = []", "'collections.hr.group'", "gate, groups, label, language, mode, recall, roots, rules, "
     "tenant"),
    ("[collections.rules]\ntypo = 1", "'collections.rules.typo'", "gate, groups, label, language, mode, recall, roots, rules, "
     "tenant"),
    ("[[collections.hr.rules]]\npath = 'a'\nlable = {}", "'collections.hr.rules.0.lable'", "label, path"),
])  # fmt: skip
def test_an_unknown_key_is_named_with_what_is_allowed(tmp_path: Path, text: str, key: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert f"unknown key {key}: allowed here are {allowed}" in str(refused.value)
    assert str(tmp_path / "domicile.toml") in str(refused.value)


@pytest.mark.parametrize(("text", "key"), [
    ("[models]\nthreads = 257", "models.threads"), ("[models]\nthreads = -1", "models.threads"),
    ("[models]\nthreads = true", "models.threads"), ("[models]\nengine = 'torch'", "models.engine"),
    ("[models]\nprecision = 'int8'", "models.precision"), ("[models]\nprecision = 'bf16'", "models.precision"),
    ("[models]\nrerank_depth = 0", "models.rerank_depth"), ("[models]\nrerank_depth = 201", "models.rerank_depth"),
    ("[models]\nrerank_budget_ms = 0", "models.rerank_budget_ms"), ("[models]\nreranker = true", "models.reranker"),
    ("[models]\nthreads = '2'", "models.threads"), ("[answering]\ndeadline_seconds = 0", "answering.deadline_seconds"),
    ("[answering]\ndeadline_seconds = nan", "answering.deadline_seconds"), ("[answering]\ndeadline_seconds = inf",
    "answering.deadline_seconds"),
    ("[answering]\nevidence_threshold = nan", "answering.evidence_threshold"), ("[answering]\nqueue = 0",
    "answering.queue"),
    ("[server]\nmax_body_bytes = 1", "server.max_body_bytes"), ("[ingestion]\nmax_file_bytes = 0",
    "ingestion.max_file_bytes"),
    ("[collections.hr]\nmode = 'open'", "collections.hr.mode"), ("[collections.hr]\ngroups = ['HR']",
    "collections.hr.groups.0"),
    ("[collections.hr]\ngroups = ['*']", "collections.hr.groups.0"), ('[collections.hr]\ngroups = ["hr\\n"]',
    "collections.hr.groups.0"),
    ("[collections.hr]\ntenant = ' a'", "collections.hr.tenant"), ("collections = 1", "collections"),
    ("[[collections.hr.rules]]\npath = ''\nlabel = {}", "collections.hr.rules.0.path"),
])  # fmt: skip
def test_a_value_out_of_bounds_is_named(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"domicile\.toml: {key}: "):
        load(tmp_path, text)


@pytest.mark.parametrize(("text", "place"), [
    ("[collections.hr.label]\nregions = ['EU']", "collections.hr.label.regions"),
    ("[collections.hr.label]\nsensitivity = 'secret'", "collections.hr.label.sensitivity"),
    ("[collections.hr.label]\nregion = ['eu']", "collections.hr.label.region"),
    ("[[collections.hr.rules]]\npath = 'a'\nlabel = {}\n[[collections.hr.rules]]\npath = 'b'\nlabel = {hosted = 1}",
     "collections.hr.rules[1].label.hosted"),
    ("[regions]\n'US ' = []", "regions.US "), ("[regions]\neu = ['de']", "regions.eu"),
])  # fmt: skip
def test_a_malformed_label_in_the_configuration_is_refused_by_its_path(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert f"domicile.toml: {place}: " in str(refused.value)


@pytest.mark.parametrize("name", ["A B", "../x", "", "x" * 65, "-a", "é", "a\\n"])
def test_a_collection_name_is_a_plain_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a name is 1 to 64"):
        load(tmp_path, f'[collections."{name}"]\n')


def test_labels_rules_and_regions_are_read(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        [regions]
        dach = ["de", "at", "ch"]
        [collections.hr]
        groups = ["hr"]
        mode = "cleared"
        label = { regions = ["dach"] }
        [[collections.hr.rules]]
        path = "board/**"
        label = { sensitivity = "restricted" }
    """,
    )
    own, rules = settings.label_sources("hr", settings.region_table())
    assert own.regions == {"de", "at", "ch"}
    assert [(glob, label.sensitivity) for glob, label in rules] == [("board/**", "restricted")]
    assert (settings.collection("hr").groups, settings.collection("hr").mode) == ({"hr"}, "cleared")


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, "[models]\nthreads = 2\nllm = 'x'", DOMICILE_MODELS__THREADS="3",
                    DOMICILE_COLLECTIONS__HR__GROUPS='["hr"]', DOMICILE_ANSWERING__DEADLINE_SECONDS="5")  # fmt: skip
    assert (settings.models.threads, settings.models.llm, settings.answering.deadline_seconds) == (3, "x", 5)
    assert settings.collection("hr").groups == {"hr"}


def test_bf16_needs_the_engine_that_has_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'bf16 needs models\.engine = "openvino"'):
        load(tmp_path, "[models]\nengine = 'onnxruntime'\nprecision = 'bf16'")
    assert load(tmp_path, "[models]\nprecision = 'bf16'\nengine = 'openvino'").models.precision == "bf16"


@pytest.mark.parametrize(("key", "value", "message"), [
    ("DOMICILE_MODELS__TREADS", "3", "unknown key 'models.treads'"), ("DOMICILE_MODELS__THREADS", "many",
    "models.threads: "),
    ("DOMICILE_MODELS__LLM__X", "3", "DOMICILE_MODELS__LLM__X: llm is not a section"),
    ("DOMICILE_ANSWERING__EVIDENCE_THRESHOLD", "NaN", "answering.evidence_threshold: "),
])  # fmt: skip
def test_a_wrong_override_is_refused_alike(tmp_path: Path, key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, "[models]\nllm = 'x'", **{key: value})


@pytest.mark.parametrize("content", [b"models = [", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "domicile.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"domicile\.toml: ") as refused:
        Settings.load(tmp_path, {})
    assert "\n" not in str(refused.value)


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "domicile.toml").mkdir()
    with pytest.raises(ConfigError, match=r"domicile\.toml: "):
        Settings.load(tmp_path, {})


SINK = """
[[sinks]]
name = "acme-eu"
model = "openai/gpt-x"
api_base = "https://llm.example/v1"
api_key = { env = "ACME_KEY" }
processing_regions = ["de"]
storage_regions = ["eu"]
retention_days = 0
training = false
human_review = false
max_sensitivity = "internal"
categories = []
purposes = ["answer"]
price = { input_per_million = 0.15, output_per_million = 0.60 }
"""


def test_a_whole_declaration_is_read(tmp_path: Path) -> None:
    settings = load(tmp_path, SINK + '[routing]\norder = ["acme-eu"]\n')
    (declared,) = settings.declared_sinks(settings.region_table())
    assert declared.processing_regions == {"de"}
    assert "fr" in declared.storage_regions


@pytest.mark.parametrize(
    ("said", "instead", "told"),
    [
        ('["de"]', "[]", "processing_regions"),
        ('["de"]', '["DE"]', "sinks.0.processing_regions: unknown region 'DE'"),
        ('["de"]', '[" de"]', "unknown region ' de'"),
        ('["de"]', '["local"]', "`local` is this process"),
        ('"internal"', '"Internal"', "sinks.0.max_sensitivity: must be one of public"),
        ("training = false", "", "sinks.0.training"),
        ("retention_days = 0", "retention_days = -1", "sinks.0.retention_days"),
        ("openai/gpt-x", "anthropic/claude", "other providers are not supported"),
        ("openai/gpt-x", "openai/ x", "model must be"),
        ("price = {", "# {", "price is missing"),
        ("https://", "http://", "must be https"),
        ("llm.example/v1", "me:pw@llm.example/v1", "must have no user"),
        ("llm.example/v1", "llm.example:99999/v1", "sinks.0.api_base"),
        ("llm.example/v1", "llm.example/v1/chat/completions", "leave out /chat/completions"),
        ('{ env = "ACME_KEY" }', '"hunter2hunter2"', "names a secret, never holds it"),
        ('{ env = "ACME_KEY" }', '{ env = "A", hunter2hunter2 = 1 }', "unknown key 'sinks.0.api_key.…'"),
        ('{ env = "ACME_KEY" }', '{ env = "A", file = "b" }', "sinks.0.api_key"),
        ("acme-eu", "local", "is the name of a route"),
        ("[[sinks]]", '[routing]\norder = ["acme-us"]\n[[sinks]]', "no sink 'acme-us' of kind llm: there are acme-eu, local"),
        ("[[sinks]]", '[tenants." default"]\n[[sinks]]', "tenants"),
        ("[[sinks]]", "[tenants.a]\nbudget_day = inf\n[[sinks]]", "tenants.a.budget_day"),
        ("[[sinks]]", '[tenants.a.label]\nregions = []\n[[sinks]]', "tenants.a.label.regions: is empty"),
        ("[[sinks]]", '[[detectors]]\nname = "x"\npattern = "("\ncategories = ["pii"]\n[[sinks]]', "detectors.0.pattern"),
    ],
)  # fmt: skip
def test_half_a_declaration_is_refused_with_its_key(tmp_path: Path, said: str, instead: str, told: str) -> None:
    assert said in SINK
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, SINK.replace(said, instead, 1))
    assert told in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_declaration_that_has_run_out_is_refused_where_something_could_be_sent(tmp_path: Path) -> None:
    settings = load(tmp_path, SINK.replace("[[sinks]]", "[[sinks]]\nvalid_until = 2026-11-22"))
    settings.refuse_expired(date(2026, 11, 22))
    with pytest.raises(
        ConfigError, match=r"sinks\.0\.valid_until: 2026-11-22 has passed: renew the declaration of acme-eu"
    ):
        settings.refuse_expired(date(2026, 11, 23))
