"""A judge of the shipped ones asks a served model."""

from __future__ import annotations

from typing import Any

from tailrace.formats.endpoint_access import EndpointAccess, EndpointKey
from tests.unit.training.judges.candidates import candidate, judge_of
from tests.unit.training.serving.api.scripted import KEYS, NAME, Scripted
from training.models.family import Model, Params

KEY = "TAILRACE_JUDGE_KEY_SERVED"


def test_llm_rubric_asks_a_served_model(model: Model, params: Params) -> None:
    with Scripted(model, params).running() as server:
        server.engine.text = '{"score": 9, "reason": "right"}'
        place = server.url.removeprefix("http://")
        endpoint = {"url": f"{server.url}/v1", "model": NAME, "api_key_env": KEY}
        options: dict[str, Any] = {
            "rubric": "Be right.",
            "pass_score": 0.6,
            "backend": {"endpoint": endpoint, "max_new_tokens": 50},
        }
        access = EndpointAccess([place], [EndpointKey(KEY, place, KEYS[1])])
        judge = judge_of({"name": "llm_rubric", "llm_rubric": options}, access)
        (verdict,) = judge.judge_all([candidate("five")])
    assert getattr(verdict, "score", None) == 0.9
    (job,) = server.engine.jobs
    assert (job.sampling.temperature, job.sampling.max_new_tokens) == (0, 50)
