from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.schema import SpecError, parse, to_mapping
from tailrace.formats.spec.judge_spec import (
    BUILT_IN,
    NEEDS_OPTIONS,
    OPTIONS,
    JudgeSpec,
)

ENDPOINT = {"url": "https://host:8443/v1", "model": "m"}
MODEL = {"model": "models/judge"}


def wrong(spec: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(JudgeSpec, spec, "judges[0]")
    return {v.field.removeprefix("judges[0]."): v.description for v in caught.value.violations}


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "answer_correctness"},
        {"name": "answer_correctness", "markers": ["Antwort:"]},
        {"name": "not_ours", "markers": ["Antwort:"]},
        {"name": "contains", "contains": {"values": ["a"], "all": True, "ignore_case": False}},
        {"name": "contains"},
        {"name": "regex", "regex": {"pattern": "a+"}},
        {"name": "json_schema", "json_schema": {"schema": {"type": "object", "minLength": 1}}},
        {"name": "token_f1", "token_f1": {"threshold": 0}},
        {"name": "rouge_l"},
        {"name": "llm_rubric", "llm_rubric": {"rubric": "r", "backend": MODEL}},
        {"name": "pairwise", "pairwise": {"criteria": "c", "backend": {"endpoint": ENDPOINT}}},
        {"name": "not_ours", "parameters": {"depth": {"of": [1, 2]}}, "max_error_rate": 1},
    ],
)
def test_judges_with_their_options_round_trip(spec: dict[str, Any]) -> None:
    made = parse(JudgeSpec, spec)
    assert parse(JudgeSpec, to_mapping(made)) == made


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"name": "AnswerCorrectness"}, "name", "did you mean 'answer_correctness'?"),
        ({"name": "regex", "contains": {}}, "contains", "belongs to the judge contains"),
        ({"name": "json_schema"}, "json_schema", "is required by the judge json_schema"),
        ({"name": "regex", "markers": ["A:"]}, "markers", "token_f1, not to regex"),
        ({"name": "rouge_l", "markers": ["\u200b"]}, "markers[0]", "is blank"),
        ({"name": "rouge_l", "markers": ["x" * 101]}, "markers[0]", "at most 100"),
        ({"name": "json_schema", "json_schema": {"schema": {}}}, "json_schema.schema", "empty"),
        ({"name": "llm_rubric"}, "llm_rubric", "is required"),
        ({"name": "regex", "parameters": {"a": 1}}, "parameters", "regex is"),
        ({"name": "regex", "max_error_rate": 1.1}, "max_error_rate", "at most 1"),
        ({"name": "contains", "contains": {"values": [""]}}, "contains.values[0]", "empty"),
        (
            {"name": "pairwise", "pairwise": {"criteria": "c", "backend": {}}},
            "pairwise.backend",
            "exactly one of model, endpoint; has none",
        ),
        (
            {
                "name": "pairwise",
                "pairwise": {"criteria": "c", "baseline": "a", "backend": MODEL},
            },
            "pairwise.baseline",
            "is not a run's name",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(spec: dict[str, Any], field: str, says: str) -> None:
    assert says in wrong(spec)[field]


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"url": "ftp://host/v1"}, "url", "is not an http or https URL"),
        ({"url": "https://user:secret@host/v1"}, "url", "without user, password"),
        ({"url": "https://host/v1?key=secret"}, "url", "query"),
        ({"url": "https://:80/v1"}, "url", "has no valid host"),
        ({"url": "https://host:99999/v1"}, "url", "has no valid port"),
        ({"url": "https://host:0/v1"}, "url", "has no valid port"),
        ({"url": "https://faß.example/v1"}, "url", "in ASCII (xn--…)"),
        ({"url": "https://host\\evil.example/v1"}, "url", "has no valid host"),
        ({"url": "https://ho%73t/v1"}, "url", "has no valid host"),
        ({"url": "https://[fe80::1%25eth0]/v1"}, "url", "has no valid host"),
        (
            {"api_key_env": "OPENAI_API_KEY"},
            "api_key_env",
            "is not the name of a key, TAILRACE_JUDGE_KEY_",
        ),
        ({"api_key": "sk-1"}, "api_key", "keys do not travel in specs"),
        ({"timeout": 0}, "timeout", "above 0"),
    ],
)
def test_endpoints_hold_no_secret(changes: dict[str, Any], field: str, says: str) -> None:
    options = {"rubric": "r", "backend": {"endpoint": ENDPOINT | changes}}
    found = wrong({"name": "llm_rubric", "llm_rubric": options})
    assert says in found[f"llm_rubric.backend.endpoint.{field}"]


def test_an_endpoint_with_all_its_keys() -> None:
    endpoint = ENDPOINT | {"api_key_env": "TAILRACE_JUDGE_KEY_A", "timeout": "1m", "concurrency": 8}
    options = {"rubric": "r", "backend": {"endpoint": endpoint}}
    backend = parse(JudgeSpec, {"name": "llm_rubric", "llm_rubric": options}).backend()
    assert backend is not None
    assert backend.endpoint is not None
    assert backend.endpoint.timeout == 60


def test_tables_of_judges_are_derived_from_the_types_of_their_options() -> None:
    named = {name for name in BUILT_IN if name in JudgeSpec.__annotations__}
    assert set(OPTIONS) == named
    assert sorted(NEEDS_OPTIONS) == ["json_schema", "llm_rubric", "pairwise"]
