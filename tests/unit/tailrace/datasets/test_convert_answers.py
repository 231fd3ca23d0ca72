from __future__ import annotations

from typing import Any

import pytest

from tailrace.datasets.detect import detect
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.record import (
    CompletionRecord,
    DatasetKind,
    FeedbackRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
)
from tailrace.formats.data.trace import Step, Trace
from tailrace.formats.schema import SpecError

ASK = {"role": "user", "content": "q"}
GOOD = {"role": "assistant", "content": "a"}
BAD = {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "s"}
M_ASK = Message(Role.USER, "q")
M_GOOD = Message(Role.ASSISTANT, "a")
M_BAD = Message(Role.ASSISTANT, "b")
M_SYSTEM = Message(Role.SYSTEM, "s")
PAIR = PreferenceRecord([M_ASK], [M_GOOD], [M_BAD])


def convert(row: dict[str, Any], **options: Any) -> Record:
    return detect([row], **options).convert(row)


def refused(row: dict[str, Any], **options: Any) -> str:
    plan = detect([row], **options)
    with pytest.raises(SpecError) as error:
        plan.convert(row)
    return str(error.value)


@pytest.mark.parametrize(
    ("row", "record"),
    [
        ({"prompt": "q\r\n", "completion": " a"}, CompletionRecord("q\r\n", " a")),
        ({"prompt": [ASK], "completion": [GOOD]}, CompletionRecord([M_ASK], [M_GOOD])),
        ({"prompt": [ASK], "completion": "a"}, CompletionRecord([M_ASK], [M_GOOD])),
        (
            {"system": "s", "prompt": "q", "completion": "a"},
            CompletionRecord([M_SYSTEM, M_ASK], [M_GOOD]),
        ),
        ({"instruction": "i", "input": "x", "output": "o"}, CompletionRecord("i\nx", "o")),
        ({"instruction": "i", "input": "", "output": "o"}, CompletionRecord("i", "o")),
        ({"instruction": "i", "input": None, "output": "o"}, CompletionRecord("i", "o")),
        (
            {"instruction": "q", "output": "a", "system": "s", "history": [["q", "b"]]},
            CompletionRecord([M_SYSTEM, M_ASK, M_BAD, M_ASK], [M_GOOD]),
        ),
        ({"text": "one\n\ntwo "}, CompletionRecord("", "one\n\ntwo ")),
    ],
)
def test_completions(row: dict[str, Any], record: CompletionRecord) -> None:
    assert convert(row) == record


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "q", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "q", "chosen": GOOD, "rejected": BAD},
        {"prompt": "q", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a",
            "rejected": "\n\nHuman: q\n\nAssistant: b",
        },
        {
            "input": {"messages": [ASK]},
            "preferred_output": [GOOD],
            "non_preferred_output": [BAD],
        },
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
    ],
)
def test_pairs_of_messages(row: dict[str, Any]) -> None:
    assert convert(row) == PAIR


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
        {"input": "q", "preferred_output": "a", "non_preferred_output": "b"},
    ],
)
def test_pairs_of_text(row: dict[str, Any]) -> None:
    assert convert(row) == PreferenceRecord("q", "a", "b")


def test_transcripts_share_all_turns_up_to_the_first_different_answer() -> None:
    row = {"chosen": [SYSTEM, ASK, GOOD, ASK, GOOD], "rejected": [SYSTEM, ASK, GOOD, ASK, BAD]}
    record = convert(row)
    assert record == PreferenceRecord([M_SYSTEM, M_ASK, M_GOOD, M_ASK], [M_GOOD], [M_BAD])


def test_a_transcript_that_goes_on_shares_turns_before_the_last_common_answer() -> None:
    record = convert({"chosen": [ASK, GOOD, ASK, GOOD], "rejected": [ASK, GOOD]})
    assert record == PreferenceRecord([M_ASK], [M_GOOD, M_ASK, M_GOOD], [M_GOOD])


def test_the_input_of_a_hosted_api_has_tools() -> None:
    tool = {"type": "function", "function": {"name": "add"}}
    row = {
        "input": {"messages": [ASK], "tools": [tool], "parallel_tool_calls": True},
        "preferred_output": [GOOD],
        "non_preferred_output": [BAD],
    }
    record = convert(row)
    assert isinstance(record, PreferenceRecord)
    assert record.tools == [tool]
    assert record.metadata == {"input": {"parallel_tool_calls": True}}


@pytest.mark.parametrize(
    ("label", "truth"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0.0, False),
        ("True", True),
        ("false", False),
        ("1", True),
        (" no", False),
    ],
)
def test_labels_are_read_from_tables_too(label: Any, truth: bool) -> None:
    row = {"prompt": "p", "completion": "c", "label": label}
    assert convert(row) == FeedbackRecord("p", "c", truth)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK, GOOD], "kto_tag": True},
        {"conversations": [{"from": "human", "value": "q"}, GOOD], "kto_tag": "true"},
    ],
)
def test_a_labelled_conversation_has_its_last_message_as_completion(row: dict[str, Any]) -> None:
    assert convert(row) == FeedbackRecord([M_ASK], [M_GOOD], True)


def test_a_labelled_instruction() -> None:
    row = {"instruction": "i", "output": "o", "kto_tag": False}
    assert convert(row) == FeedbackRecord("i", "o", False)


def test_prompts_keep_every_other_field_as_metadata() -> None:
    row = {
        "id": 3,
        "prompt": "p",
        "expected_answer": "4",
        "choices": ["4", "5"],
        "tests": [{"in": 1.5, "out": None}],
    }
    kept = {"choices": ["4", "5"], "tests": [{"in": 1.5, "out": None}]}
    assert convert(row) == PromptRecord("p", "4", id="3", metadata=kept)


@pytest.mark.parametrize(("answer", "text"), [(42, "42"), (0.5, "0.5"), ("042", "042"), ("", None)])
def test_expected_answers_may_be_numbers(answer: Any, text: str | None) -> None:
    row = {"prompt": "p", "expected_answer": answer}
    assert convert(row) == PromptRecord("p", text)


def test_an_expected_answer_may_be_nested() -> None:
    row = {"prompt": [ASK], "reward_model": {"style": "rule", "ground_truth": "4"}}
    mapping = {"expected_answer": "reward_model.ground_truth"}
    kept = {"reward_model": {"style": "rule"}}
    assert convert(row, mapping=mapping) == PromptRecord([M_ASK], "4", metadata=kept)


def test_conversations_to_go_on_with_are_prompts() -> None:
    row = {"messages": [SYSTEM, ASK], "expected_answer": "4"}
    assert convert(row) == PromptRecord([M_SYSTEM, M_ASK], "4")
    assert convert({"messages": [ASK]}, kind=DatasetKind.PROMPTS) == PromptRecord([M_ASK])


def test_traces_stay_as_they_are() -> None:
    row = {"id": "t", "prompt": "p", "answer": "a", "metadata": {"k": 1}}
    steps = [{"i": 0, "type": "t", "content": "c"}]
    assert convert(row) == Trace("p", "a", [], "t", {"k": 1})
    assert convert({**row, "steps": steps}) == Trace("p", "a", [Step(0, "t", "c")], "t", {"k": 1})


def test_traces_of_tables_have_steps_as_json() -> None:
    row = {"question": "p", "steps": '[{"i": 0, "type": "t", "content": "c"}]', "answer": "a"}
    record = convert(row, mapping={"prompt": "question"})
    assert record == Trace("p", "a", [Step(0, "t", "c")])


NO_PROMPT = (
    "is text without a separate prompt: name the column of the prompt with "
    "--map prompt=COLUMN, or write messages"
)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": 3, "completion": "c"}, "prompt: must be text or a list of messages, not 3"),
        (
            {"prompt": " ", "completion": "c"},
            "prompt: is blank: it must have a visible character",
        ),
        (
            {"prompt": [ASK], "completion": [ASK]},
            "completion: must begin with an assistant message: what precedes it is the prompt",
        ),
        (
            {"instruction": "i", "output": " "},
            "output: is blank: it must have a visible character",
        ),
        ({"instruction": 3, "output": "o"}, "instruction: must be text, not 3"),
        (
            {"instruction": "i", "output": "o", "history": [["a"]]},
            "history[0]: must be a pair of the user's and the answer's text",
        ),
        (
            {"instruction": "i", "output": "o", "history": [["a", 3]]},
            "history[0][1]: must be text, not 3: put it into quotes",
        ),
        (
            {"text": [GOOD]},
            "text: must be text: messages go into the field messages",
        ),
        ({"text": ""}, "text: is blank: it must have a visible character"),
        (
            {"prompt": "q", "chosen": "a", "rejected": "a"},
            "rejected: is the same as chosen",
        ),
        (
            {"prompt": "z", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
            "chosen: begins with another prompt than prompt: --map drop=prompt leaves that out",
        ),
        (
            {"prompt": "q", "chosen": [ASK, GOOD], "rejected": "b"},
            "chosen: repeats the prompt, which the other answer does not: write both alike",
        ),
        (
            {"chosen": [ASK, GOOD], "rejected": [{"role": "user", "content": "other"}, BAD]},
            "rejected: must begin with the prompt of chosen, followed by an assistant message",
        ),
        (
            {"prompt": "q", "chosen": [ASK, GOOD], "rejected": [ASK]},
            "rejected: must begin with the prompt of chosen, followed by an assistant message",
        ),
        ({"chosen": "a", "rejected": "b"}, f"chosen: {NO_PROMPT}; rejected: {NO_PROMPT}"),
        (
            {"input": 3, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
            "input: must be an object with messages, not 3",
        ),
        (
            {
                "input": {"messages": [ASK]},
                "preferred_output": [GOOD],
                "non_preferred_output": [{"role": "assistant", "content": ""}],
            },
            "non_preferred_output[0].content: is blank: it must have a visible character",
        ),
        (
            {"messages": [ASK, GOOD, ASK], "kto_tag": True},
            "messages[2]: must be of the assistant: the label is for the last message",
        ),
        (
            {"id": True, "prompt": "p", "completion": "c"},
            "id: must be text or a whole number, not true",
        ),
        (
            {"id": 10**200, "prompt": "p", "completion": "c"},
            "id: is a number with more than 120 digits",
        ),
        (
            {"id": "x" * 129, "prompt": "p", "completion": "c"},
            "id: has 129 characters, at most 128 allowed",
        ),
        (
            {"prompt": "p", "completion": "c", "raw": "x" * 1_000_001},
            "raw: has 1000001 characters, at most 1000000 allowed; --map drop=raw leaves the "
            "column out",
        ),
        (
            {"prompt": "p", "completion": "c", "raw": {"n": 10**41}},
            "raw.n: is a number too large to be exact; --map drop=raw leaves the column out",
        ),
        (
            {"prompt": "p", "completion": "c", "metadata": {"a": float("nan")}},
            "metadata.a: must be a finite number",
        ),
        (
            {"prompt": "p", "completion": "c", "metadata": {"a": 1}, "a": 2},
            "metadata.a: is the name of a column, too: drop one of them",
        ),
        (
            {"prompt": "p", "completion": "c", "metadata": '{"a": }'},
            "metadata: is text that is not JSON: Expecting value (column 7)",
        ),
        (
            {"prompt": "p", "completion": "c", 3: "x"},
            "3: is not the name of a column: it must be text",
        ),
        (
            {"prompt": "p", "expected_answer": [1]},
            "expected_answer: must be text, not a list",
        ),
        (
            {"prompt": "p", "steps": [{"i": 1, "type": "t", "content": "c"}], "answer": "a"},
            "steps[0].i: must be 0, not 1",
        ),
        (
            {"prompt": "p", "steps": [], "final_answer": "a"},
            "final_answer: is an old name: use answer; answer: is required",
        ),
        (
            {"prompt": "p", "steps": [], "answer": "a", "tools": []},
            "tools: is not a known key; known keys: prompt, answer, steps, id, metadata",
        ),
    ],
)
def test_refused(row: dict[str, Any], problem: str) -> None:
    assert refused(row) == problem


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (None, "label: is required"),
        ("good", "label: must be true or false, or 1 or 0, not 'good'"),
        (2, "label: must be true or false, or 1 or 0, not 2"),
        ([], "label: must be true or false, or 1 or 0, not a list"),
    ],
)
def test_wrong_labels_are_refused(label: Any, problem: str) -> None:
    row = {"prompt": "p", "completion": "c", "label": True}
    plan = detect([row])
    with pytest.raises(SpecError) as error:
        plan.convert({**row, "label": label})
    assert str(error.value) == problem


def test_a_row_without_a_required_column_is_refused() -> None:
    plan = detect([{"instruction": "i", "output": "o"}])
    with pytest.raises(SpecError) as error:
        plan.convert({"instruction": "i"})
    assert str(error.value) == "output: is required"


def test_a_row_that_is_not_an_object_is_refused() -> None:
    plan = detect([{"text": "t"}])
    with pytest.raises(SpecError) as error:
        plan.convert([1])  # type: ignore[arg-type]
    assert str(error.value) == "(root): must be an object, not a list"
