from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.formats.data.message import Role
from training.serving.api.errors import ApiError
from training.serving.api.reading import read_chat, read_completion

HI = {"role": "user", "content": "Hi"}


def chat(**fields: Any) -> Any:
    return read_chat(json.dumps({"model": "m", "messages": [HI], **fields}).encode())


def refusal(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        chat(**fields)
    assert raised.value.status == 400
    return raised.value


def completion(**fields: Any) -> Any:
    return read_completion(json.dumps({"model": "m", **fields}).encode())


def test_defaults_are_those_of_openai() -> None:
    request = chat()
    assert (request.temperature, request.top_p, request.n, request.stream) == (1, 1, 1, False)
    assert (request.limit, request.seed, request.stop) == (None, None, [])
    assert completion(prompt="a")[0].limit == 16


def test_every_wrong_field_is_named_at_once() -> None:
    error = refusal(
        temperature=3, top_p=0, n=0, logit_bias={"1": 2}, mesages=[], top_logprobs=4,
        messages=[{"role": "human", "content": "Hi"}],
    )  # fmt: skip
    message = str(error)
    for name in ("temperature", "top_p", "n:", "logit_bias", "top_logprobs", "messages[0].role"):
        assert name in message
    assert "mesages: is not a known key; did you mean 'messages'?" in message
    assert error.body["error"]["param"] == "logit_bias"
    assert error.body["error"]["type"] == "invalid_request_error"


def test_contents_of_parts_are_joined_and_other_media_refused() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert chat(messages=[{"role": "user", "content": parts}]).messages[0].content == "one\ntwo"
    image = {"type": "image_url", "image_url": {"url": "x"}}
    error = refusal(messages=[{"role": "user", "content": [parts[0], image]}])
    assert "messages[0].content[1]: must be" in str(error)


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    call = {"id": "call_1", "type": "function",
            "function": {"name": "add", "arguments": '{"a": 1}'}}  # fmt: skip
    answer = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call],
              "reasoning_content": "hm", "annotations": None, "audio": None}  # fmt: skip
    result = {"role": "tool", "tool_call_id": "call_1", "content": "3"}
    messages = chat(messages=[HI, answer, result]).messages
    assert messages[1].tool_calls[0].function.arguments == {"a": 1}
    assert messages[1].reasoning_content == "hm"
    assert messages[2].role is Role.TOOL


def test_an_answer_may_be_empty_but_not_a_question() -> None:
    assert chat(messages=[HI, {"role": "assistant", "content": ""}, HI]).messages[1].content == ""
    assert "messages[0].content: is blank" in str(refusal(messages=[{"role": "user"}]))


def test_arguments_that_are_not_json_are_named() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{a"}}
    error = refusal(messages=[HI, {"role": "assistant", "tool_calls": [call]}])
    assert "messages[1].tool_calls[0].function.arguments: must be the text of" in str(error)


def test_a_tool_result_needs_its_call() -> None:
    error = refusal(messages=[{"role": "tool", "tool_call_id": "x", "content": "3"}])
    assert "messages[0]: must come after the assistant message" in str(error)


def test_tool_choice_none_leaves_the_tools_out_and_force_is_refused() -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    assert chat(tools=[tool], tool_choice="none").tools == []
    assert chat(tools=[tool], tool_choice="auto").tools == [tool]
    assert "tool_choice: must be none or auto" in str(refusal(tools=[tool], tool_choice="required"))


def test_neutral_values_and_descriptions_are_accepted() -> None:
    chat(
        frequency_penalty=0, presence_penalty=0.0, logit_bias={}, response_format={"type": "text"},
        metadata={"a": "b"}, store=False, service_tier="auto", top_logprobs=0, modalities=["text"],
        reasoning_effort=None,
    )  # fmt: skip
    assert "use repetition_penalty" in str(refusal(frequency_penalty=0.5))
    schema = {"type": "json_schema", "json_schema": {}}
    assert "response_format: is not supported here" in str(refusal(response_format=schema))


def test_one_limit_of_new_tokens_counts() -> None:
    assert chat(max_completion_tokens=5).limit == 5
    assert chat(max_tokens=6).limit == 6
    assert "give one" in str(refusal(max_completion_tokens=5, max_tokens=6))


def test_stop_is_a_text_or_a_list() -> None:
    assert chat(stop="x").stop == ["x"]
    assert chat(stop=["x", "y"]).stop == ["x", "y"]
    assert "stop[0]: must not be empty" in str(refusal(stop=[""]))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_prompts_of_completions(prompt: Any, expected: Any) -> None:
    assert completion(prompt=prompt)[1] == expected


@pytest.mark.parametrize("prompt", [None, [], [True], [[]], {"a": 1}, [-1], ["a", 3], ["a"] * 300])
def test_prompts_that_are_neither_text_nor_tokens(prompt: Any) -> None:
    with pytest.raises(ApiError, match="prompt"):
        completion(prompt=prompt)


def test_the_number_of_answers_is_bounded() -> None:
    with pytest.raises(ApiError, match="n: with 100 prompts asks for more than 512 answers"):
        completion(prompt=["a"] * 100, n=6)


def test_log_probabilities_of_other_tokens_are_refused() -> None:
    assert completion(prompt="a", logprobs=0)[0].logprobs == 0
    with pytest.raises(ApiError, match="logprobs: must be at most 0"):
        completion(prompt="a", logprobs=3)


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff", b'{"a": NaN}'])
def test_a_body_that_is_no_json_object(body: bytes) -> None:
    with pytest.raises(ApiError, match="the body"):
        read_chat(body)
