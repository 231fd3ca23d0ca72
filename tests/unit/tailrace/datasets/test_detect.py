from __future__ import annotations

from typing import Any

import pytest

from tailrace.datasets.columns import MappingError
from tailrace.datasets.detect import DetectionError, detect
from tailrace.formats.data.record import DatasetKind

USER = {"role": "user", "content": "q"}
GOOD = {"role": "assistant", "content": "a"}
CHAT = [USER, GOOD]
ALPACA = {"instruction": "i", "input": "x", "output": "o"}
PAIR = {"chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": CHAT}, "messages: a conversation (columns messages)"),
        ({"conversations": CHAT}, "messages: a conversation (columns conversations)"),
        (
            {"messages": CHAT, "prompt": "p", "lang": "en"},
            "messages: a conversation (columns messages); kept as metadata: prompt, lang",
        ),
        (
            {"prompt": "p", "completion": "c", "label": True},
            "feedback: a prompt with a labelled completion (columns prompt, completion, label)",
        ),
        (
            {"prompt": "p", "completion": "c", "label": "physics"},
            "completion: a prompt with its completion (columns prompt, completion); "
            "kept as metadata: label",
        ),
        (
            {**ALPACA, "text": "rendered"},
            "completion: an instruction with its output, as Alpaca has them "
            "(columns instruction, output, input); kept as metadata: text",
        ),
        (
            {**ALPACA, "kto_tag": "false"},
            "feedback: an instruction with a labelled output "
            "(columns instruction, output, kto_tag, input)",
        ),
        (
            {"prompt": "p", **PAIR},
            "preference: a prompt with two answers (columns prompt, chosen, rejected)",
        ),
        (
            PAIR,
            "preference: two transcripts that share their prompt (columns chosen, rejected)",
        ),
        (
            {"instruction": "i", **PAIR},
            "preference: an instruction with two answers (columns instruction, chosen, rejected)",
        ),
        (
            {"conversations": [USER], **PAIR},
            "preference: a conversation with two answers (columns conversations, chosen, rejected)",
        ),
        (
            {"input": {}, "preferred_output": [], "non_preferred_output": []},
            "preference: an input with two outputs, as hosted APIs have them "
            "(columns input, preferred_output, non_preferred_output)",
        ),
        ({"prompt": "p"}, "prompts: a prompt alone (columns prompt)"),
        (
            {"prompt": "p", "expected_answer": "4", "choices": ["4"]},
            "prompts: a prompt with its expected answer (columns prompt, expected_answer); "
            "kept as metadata: choices",
        ),
        (
            {"messages": [USER], "expected_answer": "4"},
            "prompts: a conversation to go on with, and the expected answer "
            "(columns messages, expected_answer)",
        ),
        (
            {"prompt": "p", "steps": [], "answer": "a"},
            "trace: a prompt with reasoning steps and an answer (columns prompt, steps, answer)",
        ),
        (
            {"id": "t", "prompt": "p", "answer": "a"},
            "trace: a prompt with an answer and nothing else (columns prompt, answer, id)",
        ),
        (
            {"text": "t", "label": 0},
            "completion: plain text (columns text); kept as metadata: label",
        ),
    ],
)
def test_the_form_is_named_with_its_columns(row: dict[str, Any], reason: str) -> None:
    assert detect([row]).reason == reason


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"messages": CHAT, "prompt": "p", "completion": "c"},
            "the rows may be messages (a conversation: messages) or completion (a prompt with its "
            "completion: prompt, completion): choose with --format KIND",
        ),
        (
            {"prompt": "p", **PAIR, "label": 1},
            "the rows may be preference (a prompt with two answers: prompt, chosen, rejected) or "
            "feedback (an answer with a label): choose with --format KIND",
        ),
        (
            {"messages": CHAT, "label": True},
            "the rows may be messages (a conversation: messages) or feedback (an answer with a "
            "label): choose with --format KIND",
        ),
        (
            {"prompt": "p", "text": "t"},
            "the rows may be completion (plain text: text) or prompts (a prompt alone: prompt): "
            "choose with --format KIND",
        ),
        (
            {"prompt": "p", "instruction": "i", **PAIR},
            "the rows may be preference (a prompt with two answers: prompt, chosen, rejected) or "
            "preference (an instruction with two answers: instruction, chosen, rejected): choose "
            "the columns with --map FIELD=COLUMN, or leave some out with --map drop=COLUMN",
        ),
        (
            {"messages": CHAT, "conversations": CHAT},
            "messages may be the column messages or conversations: choose with "
            "--map messages=COLUMN",
        ),
        (
            {"prompt": "p", "response": "r"},
            "the rows may be completion (--map completion=response) or prompts "
            "(--map expected_answer=response, or --format prompts to keep response as metadata)",
        ),
        (
            {"prompt": "p", "answer": "a", "level": 1},
            "the rows may be completion (--map completion=answer) or prompts "
            "(--map expected_answer=answer, or --format prompts to keep answer as metadata)",
        ),
        ({}, "there are no rows with a value: the file holds nothing to import"),
    ],
)
def test_ambiguous_rows_are_refused_with_the_candidates(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(DetectionError) as error:
        detect([row])
    assert str(error.value) == problem


def test_rows_of_no_form_are_refused_with_their_columns_and_the_fields() -> None:
    with pytest.raises(DetectionError) as error:
        detect([{"question": "q", "answer": "a"}])
    assert str(error.value) == (
        "the rows are not of a known form; their columns: question, answer. Name the column of "
        "each field, for example --map prompt=question --map completion=answer. Fields by kind:\n"
        "  messages: messages\n"
        "  completion: prompt + completion or instruction + output or text\n"
        "  preference: prompt + chosen + rejected or instruction + chosen + rejected or messages + "
        "chosen + rejected or chosen + rejected or input + preferred_output + "
        "non_preferred_output\n"
        "  feedback: prompt + completion + label or instruction + output + label or messages + "
        "label\n"
        "  prompts: prompt + expected_answer or messages + expected_answer or prompt or messages\n"
        "  trace: prompt + steps or prompt + answer"
    )


def test_the_example_of_a_mapping_names_columns_of_any_case() -> None:
    with pytest.raises(DetectionError, match="--map prompt=Question --map completion=Answer"):
        detect([{"Question": "q", "Answer": "a"}])


def test_a_kind_that_the_rows_do_not_have_is_refused() -> None:
    with pytest.raises(DetectionError) as error:
        detect([{"messages": CHAT}], DatasetKind.FEEDBACK)
    assert str(error.value).startswith(
        "the rows are not of the kind feedback; their columns: messages. Name the column"
    )


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (DatasetKind.MESSAGES, "a conversation"),
        (DatasetKind.COMPLETION, "a prompt with its completion"),
        (DatasetKind.FEEDBACK, "a conversation whose last message is labelled"),
        (DatasetKind.PROMPTS, "a prompt alone"),
    ],
)
def test_the_kind_decides_between_candidates(kind: DatasetKind, title: str) -> None:
    row = {"messages": CHAT, "label": True, "completion": "c"}
    if kind is not DatasetKind.FEEDBACK:
        row |= {"prompt": "p"}
    if kind is DatasetKind.PROMPTS:
        del row["messages"]
    plan = detect([row], kind)
    assert (plan.kind, plan.form.title) == (kind, title)


def test_a_mapping_names_columns() -> None:
    row = {"question": "q", "answer": "a", "meta": {"id": 7, "level": "hard"}}
    plan = detect([row], mapping={"prompt": "question", "completion": "answer", "id": "meta.id"})
    assert plan.reason.startswith(
        "completion: a prompt with its completion (columns question, answer, meta.id)"
    )
    record = plan.convert(row)
    assert record.id == "7"
    assert record.metadata == {"meta": {"level": "hard"}}


def test_a_column_with_a_dot_in_its_name_comes_before_a_path() -> None:
    row = {"a.b": "text", "a": {"b": "other"}}
    record = detect([row], mapping={"text": "a.b"}).convert(row)
    assert record.metadata == {"a": {"b": "other"}}


def test_a_column_that_comes_later_is_read_all_the_same() -> None:
    plan = detect([{"prompt": "p", "completion": "c"}])
    record = plan.convert({"prompt": "p", "completion": "c", "id": 3, "system": "s"})
    assert record.id == "3"
    assert not record.metadata


def test_dropped_columns_are_neither_read_nor_kept() -> None:
    row = {"messages": CHAT, "id": "x", "label": True, "raw": "x", "lang": "en"}
    record = detect([row], mapping={"drop": "id, label, raw"}).convert(row)
    assert record.id is None
    assert record.metadata == {"lang": "en"}


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        (
            {"prompt": "quesion"},
            "'quesion' is not a column; did you mean 'question'? there is: question, answer",
        ),
        ({"prompt": "data.turns"}, "'data.turns' is not a column; there is: question, answer"),
        ({"drop": "x"}, "'x' is not a column; there is: question, answer"),
        (
            {"promt": "question"},
            "'promt' is not a field; did you mean 'prompt'? there is: messages, system, tools, id, "
            "metadata, prompt, completion, instruction, output, input, history, text, chosen, "
            "rejected, preferred_output, non_preferred_output, label, expected_answer, steps, "
            "answer, drop",
        ),
    ],
)
def test_a_wrong_mapping_is_refused(mapping: dict[str, str], problem: str) -> None:
    with pytest.raises(MappingError) as error:
        detect([{"question": "q", "answer": "a"}], mapping=mapping)
    assert str(error.value) == problem


def test_a_mapped_prompt_beside_an_answer_is_not_taken_for_a_trace() -> None:
    row = {"question": "q", "answer": "a"}
    with pytest.raises(DetectionError, match=r"may be completion \(--map completion=answer\)"):
        detect([row], mapping={"prompt": "question"})
