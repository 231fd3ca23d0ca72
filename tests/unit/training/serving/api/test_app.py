"""The HTTP API, asked by the official client where it can ask."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.unit.training.serving.api.scripted import KEYS, NAME, Scripted
from training.models.family import Model, Params

HI: Any = [{"role": "user", "content": "Hi"}]
ADD: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


@pytest.fixture(scope="module")
def running(model: Model, params: Params) -> Iterator[Scripted]:
    with Scripted(model, params).running() as scripted:
        yield scripted


@pytest.fixture
def server(running: Scripted) -> Scripted:
    engine = running.engine
    engine.text, engine.hangs, engine.is_full, engine.failure = "fine", False, False, ""
    engine.jobs.clear()
    engine.cancelled.clear()
    return running


@pytest.fixture
def client(server: Scripted) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEYS[0], max_retries=0) as client:
        yield client


def post(server: Scripted, path: str = "/v1/chat/completions", **changes: Any) -> Any:
    content = changes.pop("content", None)
    headers = {"Authorization": f"Bearer {KEYS[1]}", "Content-Type": "application/json"}
    headers |= changes.pop("headers", {})
    body = json.dumps({"model": NAME, "messages": HI, **changes}) if content is None else content
    return httpx2.post(server.url + path, content=body, headers=headers)


def chat(client: openai.OpenAI, **changes: Any) -> Any:
    return client.chat.completions.create(**{"model": NAME, "messages": HI, **changes})


def test_models(client: openai.OpenAI) -> None:
    (listed,) = client.models.list()
    assert (listed.id, listed.object, listed.owned_by) == (NAME, "model", "tailrace")
    assert client.models.retrieve(NAME).id == NAME
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4o' here"):
        client.models.retrieve("gpt-4o")


def test_a_chat(client: openai.OpenAI, server: Scripted) -> None:
    answer = chat(client, temperature=0.5, seed=-3, top_p=0.9, max_completion_tokens=9)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "fine")
    assert (choice.finish_reason, choice.logprobs, choice.message.tool_calls) == (
        "stop",
        None,
        None,
    )
    (job,) = server.engine.jobs
    assert answer.usage.prompt_tokens == len(job.prompt)
    assert answer.usage.total_tokens == len(job.prompt) + answer.usage.completion_tokens
    sampling = job.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (0.5, 0.9, 9)
    assert sampling.seed == -3 % 2**31


def test_requests_without_a_seed_differ(client: openai.OpenAI, server: Scripted) -> None:
    chat(client)
    chat(client)
    first, second = (job.sampling.seed for job in server.engine.jobs)
    assert first != second


def test_the_limit_of_tokens_cuts_an_answer(client: openai.OpenAI) -> None:
    answer = chat(client, max_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 2


def test_several_answers(client: openai.OpenAI) -> None:
    answer = chat(client, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    one = chat(client).usage
    assert answer.usage.prompt_tokens == one.prompt_tokens
    assert answer.usage.completion_tokens == 3 * one.completion_tokens


def test_a_stop_string_ends_an_answer_and_its_slot(client: openai.OpenAI, server: Scripted) -> None:
    server.engine.text, server.engine.hangs = "one two three", True
    answer = chat(client, stop=[" two"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one", "stop")
    assert server.engine.cancelled == [(server.engine.jobs[0], 0)]


def test_a_special_token_is_a_stop_string(client: openai.OpenAI, server: Scripted) -> None:
    server.engine.text = "one<|im_start|>two"
    assert chat(client, stop="<|im_start|>").choices[0].message.content == "one"
    with pytest.raises(openai.BadRequestError, match=r"stop\[0\] has a special token and other"):
        chat(client, stop="a<|im_start|>")


def test_log_probabilities(client: openai.OpenAI) -> None:
    (content,) = (choice.logprobs.content for choice in chat(client, logprobs=True).choices)
    assert "".join(entry.token for entry in content) == "fine"
    assert {entry.logprob for entry in content} == {-0.5}
    assert bytes(content[0].bytes).decode() == content[0].token
    with pytest.raises(openai.BadRequestError, match="top_logprobs: is not supported here"):
        chat(client, logprobs=True, top_logprobs=3)


def test_thinking_and_calls_of_tools(client: openai.OpenAI, server: Scripted) -> None:
    server.engine.text = f"<think>hm</think>I add.\n{CALL}"
    (choice,) = chat(client, tools=[ADD]).choices
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content, choice.message.reasoning_content) == ("I add.", "hm")
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1})
    assert call.id.startswith("call_")
    follow_up = [*HI, choice.message.model_dump(), {"role": "tool", "content": "1",
                 "tool_call_id": call.id}]  # fmt: skip
    assert chat(client, messages=follow_up, tools=[ADD]).choices


def test_the_prompt_has_the_system_prompt_and_the_tools(
    client: openai.OpenAI, server: Scripted
) -> None:
    chat(client, messages=[{"role": "system", "content": "Be brief."}, *HI], tools=[ADD])
    prompt = server.api._model.chat.written(server.engine.jobs[0].prompt)
    assert "Be brief." in prompt
    assert '"name": "add"' in prompt


def test_a_stream(client: openai.OpenAI) -> None:
    options = {"include_usage": True}
    chunks = list(chat(client, stream=True, stream_options=options, logprobs=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "fine"
    assert len(chunks) > 4
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    logprobs = [c.choices[0].logprobs for c in chunks if c.choices]
    assert "".join(e.token for part in logprobs if part for e in part.content) == "fine"
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_of_thinking_and_calls(client: openai.OpenAI, server: Scripted) -> None:
    server.engine.text = f"<think>hm</think>I add.\n{CALL}"
    chunks = list(chat(client, tools=[ADD], stream=True, n=2))
    for index in range(2):
        choices = [c.choices[0] for c in chunks if c.choices[0].index == index]
        deltas = [choice.delta for choice in choices]
        assert "".join(getattr(d, "reasoning_content", None) or "" for d in deltas) == "hm"
        assert "".join(delta.content or "" for delta in deltas) == "I add."
        (call,) = [call for delta in deltas for call in delta.tool_calls or []]
        assert (call.index, call.function.name) == (0, "add")
        assert choices[-1].finish_reason == "tool_calls"


def test_completions(client: openai.OpenAI, server: Scripted) -> None:
    answer = client.completions.create(model=NAME, prompt=["One", "Two"], n=2, logprobs=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert {choice.text for choice in answer.choices} == {"fine"}
    logprobs: Any = answer.choices[0].logprobs
    assert logprobs.tokens == ["f", "i", "n", "e"]
    assert logprobs.text_offset == [0, 1, 2, 3]
    assert server.engine.jobs[0].sampling.max_new_tokens == 16
    stream = client.completions.create(model=NAME, prompt=[70, 71], stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "fine"
    assert server.engine.jobs[-1].prompt == [70, 71]
    with pytest.raises(openai.BadRequestError, match="the model has tokens 0 to"):
        client.completions.create(model=NAME, prompt=[70, 100_000])


def test_template_variables(client: openai.OpenAI, server: Scripted) -> None:
    chat(client, extra_body={"chat_template_kwargs": {"colour": "red"}})
    with pytest.raises(openai.BadRequestError, match=r"chat_template_kwargs\.messages cannot be"):
        chat(client, extra_body={"chat_template_kwargs": {"messages": []}})
    assert len(server.engine.jobs) == 1


def test_errors_are_those_of_openai(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, temperature=5, top_p=7)
    assert raised.value.code == "invalid_value"
    assert raised.value.param == "temperature"
    assert "top_p" in str(raised.value)
    with pytest.raises(openai.NotFoundError) as missing:
        chat(client, model="gpt-4o")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        chat(client, messages=[{"role": "user", "content": "long " * 1000}])
    assert long.value.code == "context_length_exceeded"


def test_a_full_queue_says_when_to_come_back(client: openai.OpenAI, server: Scripted) -> None:
    server.engine.is_full = True
    with pytest.raises(openai.RateLimitError) as raised:
        chat(client, stream=True)
    assert raised.value.response.headers["retry-after"] == "10"
    assert raised.value.code == "queue_full"


def test_a_key_is_needed(server: Scripted) -> None:
    assert post(server).status_code == 200
    for wrong in ("Bearer wrong", f"Basic {KEYS[0]}", ""):
        refused = post(server, headers={"Authorization": wrong})
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert KEYS[0] not in refused.text
    assert httpx2.get(f"{server.url}/metrics").status_code == 401


def test_other_names_of_the_server_are_refused(server: Scripted) -> None:
    for host in ("127.0.0.1:80", "localhost", "LocalHost:1", "[::1]:9", "model.test:80"):
        assert post(server, headers={"Host": host}).status_code == 200
    for host in ("evil.test", "127.0.0.1.evil.test:80", "evil.test:127"):
        refused = post(server, headers={"Host": host})
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "host_not_allowed"


def test_bodies_of_browsers_and_large_ones_are_refused(server: Scripted) -> None:
    assert post(server, headers={"Content-Type": "text/plain"}).status_code == 415
    large = post(server, content="x" * 30_000)
    assert large.status_code == 413
    assert "at most 20000 bytes" in large.json()["error"]["message"]
    assert post(server, content="{").json()["error"]["code"] == "invalid_json"


def test_paths_and_methods_that_do_not_exist(server: Scripted) -> None:
    assert post(server, "/v1/embeddings").status_code == 404
    missing = post(server, "/v2")
    assert missing.json()["error"]["message"] == "POST /v2: Not Found"
    headers = {"Authorization": f"Bearer {KEYS[0]}"}
    assert httpx2.get(f"{server.url}/v1/completions", headers=headers).status_code == 405


def test_a_client_that_goes_away_frees_its_slot(client: openai.OpenAI, server: Scripted) -> None:
    server.engine.hangs = True
    stream = chat(client, stream=True)
    next(iter(stream))
    stream.close()
    assert wait_for_cancel(server) == server.engine.jobs[0]
    server.engine.cancelled.clear()
    with pytest.raises(openai.APITimeoutError):
        chat(client.with_options(timeout=0.3))
    assert wait_for_cancel(server) == server.engine.jobs[1]


def wait_for_cancel(server: Scripted) -> Any:
    deadline = time.monotonic() + 10
    while not server.engine.cancelled and time.monotonic() < deadline:
        time.sleep(0.01)
    return server.engine.cancelled[0][0]


def test_an_answer_that_takes_too_long(
    client: openai.OpenAI, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.serving.api.generation.SILENCE_SECONDS", 0.05)
    limits = server.api._limits
    monkeypatch.setattr(server.api, "_limits", type(limits)(20_000, 0.3, 8))
    server.engine.hangs = True
    with pytest.raises(openai.InternalServerError) as raised:
        chat(client)
    assert (raised.value.status_code, raised.value.code) == (504, "deadline_exceeded")
    with pytest.raises(openai.APIError, match=r"no whole answer in 0\.3 s"):
        list(chat(client, stream=True))
    raw = post(server, stream=True).text
    assert ": waiting" in raw
    assert "[DONE]" not in raw


def test_health_and_metrics(client: openai.OpenAI, server: Scripted) -> None:
    chat(client)
    assert httpx2.get(f"{server.url}/health").json() == {"status": "ok", "model": NAME}
    headers = {"Authorization": f"Bearer {KEYS[0]}"}
    text = httpx2.get(f"{server.url}/metrics", headers=headers).text
    assert 'tailrace_model_requests_total{path="/v1/chat/completions",status="200"}' in text
    assert "tailrace_model_waiting 3.0" in text
    server.engine.failure = "generation has failed"
    assert httpx2.get(f"{server.url}/health").status_code == 503
    with pytest.raises(openai.InternalServerError) as raised:
        chat(client)
    assert raised.value.status_code == 503


def test_clients_are_told_apart_by_key_and_user(client: openai.OpenAI, server: Scripted) -> None:
    chat(client)
    chat(client, user="a")
    post(server)
    names = [job.client for job in server.engine.jobs]
    assert names == ["0/127.0.0.1/", "0/127.0.0.1/a", "1/127.0.0.1/"]
