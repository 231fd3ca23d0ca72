from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tool_calling.calculator import SEEN, UNSEEN, CalculatorData, calculator_data
from tailrace.formats.data.dataset_file import parse_dataset
from tailrace.formats.data.eval_item import EvalItem, read_eval_items
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.record import dump_line

OPERATIONS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}


@pytest.fixture(scope="module")
def data() -> CalculatorData:
    return calculator_data(seed=16, conversations=200, items=50)


def numbers(text: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", text)]


def expressions(messages: list[Message]) -> list[str]:
    return [call.function.arguments["expression"] for m in messages for call in m.tool_calls]


def test_a_seed_gives_the_same_data_and_another_seed_gives_other_data(data: CalculatorData) -> None:
    assert calculator_data(16, 200, 50) == data
    assert calculator_data(17, 200, 50).train != data.train


def test_every_result_is_right_and_every_question_names_its_operands(data: CalculatorData) -> None:
    calls = 0
    for record in data.train:
        results: list[int] = []
        for position, message in enumerate(record.messages):
            for call in message.tool_calls:
                a, sign, b = call.function.arguments["expression"].split(" ")
                result = record.messages[position + 1]
                results.append(OPERATIONS[sign](int(a), int(b)))
                assert result.content == str(results[-1])
                assert result.tool_call_id == call.id
                assert result.content in record.messages[position + 2].content
                asked = {*numbers(record.messages[position - 1].content), *results[:-1]}
                assert {int(a), int(b)} <= asked
                calls += 1
    assert calls > len(data.train)


def test_nothing_of_the_eval_sets_is_trained_on(data: CalculatorData) -> None:
    trained = {text for record in data.train for text in expressions(record.messages)}
    questions = {m.content for r in data.train for m in r.messages if m.role is Role.USER}
    keys = {record.split_key for record in data.train}
    assert len(keys) == len(data.train)
    for item in [*data.held_out, *data.unseen_range]:
        asked = [call.function.arguments["expression"] for call in item.expected_tool_calls]
        assert len(asked) == 1
        assert not trained & {*asked, *expressions(item.messages)}
        opening = next(m.content for m in item.messages if m.role is Role.USER)
        assert opening not in questions


def test_training_has_no_number_of_the_unseen_range(data: CalculatorData) -> None:
    trained = [n for r in data.train for m in r.messages for n in numbers(m.content)]
    assert UNSEEN.low > SEEN.largest_result >= max(trained) > SEEN.largest_result // 2
    for item in data.unseen_range:
        operands = numbers(item.expected_tool_calls[0].function.arguments["expression"])
        assert all(UNSEEN.low <= operand <= UNSEEN.high for operand in operands)


@pytest.mark.parametrize("part", ["held_out", "unseen_range"])
def test_an_eval_set_has_every_operation_in_first_and_second_questions(
    data: CalculatorData, part: str
) -> None:
    items: list[EvalItem] = getattr(data, part)
    kinds = {(item.category, item.section) for item in items}
    assert kinds == {(s, q) for s in "+-*/" for q in ("first question", "second question")}


def test_the_command_writes_files_that_are_read_back_with_their_tools_in_order(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "benchmarks.tool_calling", "--output", str(tmp_path)]
    subprocess.run([*command, "--conversations", "20", "--items", "10"], check=True)
    data = calculator_data(16, 20, 10)
    lines = (tmp_path / "calculator.jsonl").read_bytes()
    assert parse_dataset(lines.splitlines()) == data.train
    assert lines.decode() == "".join(map(dump_line, data.train))
    held_out = read_eval_items(tmp_path / "calculator-held-out.jsonl")
    unseen = read_eval_items(tmp_path / "calculator-unseen-range.jsonl")
    assert (held_out, unseen) == (data.held_out, data.unseen_range)
    order = [list(record.tools[0]) for record in [*data.train, *held_out, *unseen]]
    assert order == [["type", "function"]] * 40
