"""Conversations in which the assistant calls a calculator, and eval sets of calls to predict.

Everything is a function of a seed. No held-out expression occurs in the training conversations,
and neither does a number outside their range, be it an operand or a result.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.tool_calling.phrases import (
    ANSWERS,
    CLOSINGS,
    FOLLOW_UPS,
    NAMES,
    QUESTIONS,
    SYSTEMS,
    THINGS,
)
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.record import ChatRecord

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "calculator",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
    },
}
"""The calculator: short, because every conversation spells it out in its first turn."""

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b,
}
"""Operations by sign; divisions leave no remainder."""


@dataclass(frozen=True)
class Numbers:
    """Range of the numbers in a set of conversations."""

    low: int
    high: int
    """Smallest and largest operand."""
    largest_result: int

    def draw(self, generator: random.Random) -> int:
        """Return a number; every length in digits is equally likely."""
        length = generator.randint(len(str(self.low)), len(str(self.high)))
        first, last = 10 ** (length - 1), 10**length - 1
        return generator.randint(max(first, self.low), min(last, self.high))


SEEN = Numbers(2, 999, largest_result=999)
"""Numbers of the training conversations, and of the held-out ones."""

UNSEEN = Numbers(1_000, 9_999, largest_result=10**8)
"""Numbers of the eval set with operands that no training conversation has."""


@dataclass(frozen=True)
class Calculation:
    """An operation with its operands."""

    a: int
    sign: str
    b: int

    @property
    def expression(self) -> str:
        """Argument of the call."""
        return f"{self.a} {self.sign} {self.b}"

    @property
    def result(self) -> int:
        """Result of the call."""
        return OPERATIONS[self.sign](self.a, self.b)

    def call(self) -> ToolCall:
        """Return the call of the calculator."""
        return ToolCall(ToolFunction("calculator", {"expression": self.expression}))


@dataclass(frozen=True)
class Conversation:
    """Messages with the calculations that they contain, in order."""

    messages: list[Message]
    calculations: list[Calculation]

    @property
    def opening(self) -> str:
        """First question."""
        return next(m.content for m in self.messages if m.role is Role.USER)

    def record(self, name: str) -> ChatRecord:
        """Return the line of the dataset."""
        return ChatRecord(self.messages, [TOOL], id=name)

    def item(self, name: str) -> EvalItem:
        """Return the eval item that asks for the last call."""
        last = max(i for i, message in enumerate(self.messages) if message.tool_calls)
        return EvalItem(
            name,
            messages=self.messages[:last],
            tools=[TOOL],
            expected_tool_calls=self.messages[last].tool_calls,
            category=self.calculations[-1].sign,
            section="first question" if len(self.calculations) == 1 else "second question",
        )


@dataclass(frozen=True)
class CalculatorData:
    """A dataset with its two eval sets."""

    train: list[ChatRecord]
    held_out: list[EvalItem]
    """Calls of other conversations: none of their expressions and questions is trained on."""
    unseen_range: list[EvalItem]
    """Calls with larger operands than any in training."""


def calculator_data(seed: int, conversations: int, items: int) -> CalculatorData:
    """Return ``conversations`` lines to train on and ``items`` items of each eval set."""
    generator = random.Random(seed)
    held_out = _distinct(generator, SEEN, items, set())
    reserved = {text for one in held_out for text in _identity(one)}
    train = _distinct(generator, SEEN, conversations, reserved)
    unseen = _distinct(generator, UNSEEN, items, reserved)
    return CalculatorData(
        [one.record(f"calculator-{i:04d}") for i, one in enumerate(train)],
        [one.item(f"held-out-{i:03d}") for i, one in enumerate(held_out)],
        [one.item(f"unseen-range-{i:03d}") for i, one in enumerate(unseen)],
    )


def converse(generator: random.Random, numbers: Numbers) -> Conversation:
    """Return a conversation with one question or two."""
    messages: list[Message] = []
    calculations: list[Calculation] = []
    questions = generator.choice((1, 2))
    if questions == 2 or generator.random() < 0.5:
        messages.append(Message(Role.SYSTEM, generator.choice(SYSTEMS)))
    for number in range(questions):
        last = calculations[-1].result if calculations else None
        question, calculation = _question(generator, numbers, last, stories=questions == 1)
        messages += _exchange(generator, question, calculation, f"call{number:05d}")
        calculations.append(calculation)
    if questions == 1 and generator.random() < 0.3:
        thanks, reply = generator.choice(CLOSINGS)
        messages += [Message(Role.USER, thanks), Message(Role.ASSISTANT, reply)]
    return Conversation(messages, calculations)


def _distinct(
    generator: random.Random, numbers: Numbers, count: int, reserved: set[str]
) -> list[Conversation]:
    """Return conversations with different openings, without the questions in ``reserved``."""
    conversations: dict[str, Conversation] = {}
    while len(conversations) < count:
        conversation = converse(generator, numbers)
        if not reserved & _identity(conversation):
            conversations.setdefault(conversation.opening, conversation)
    return list(conversations.values())


def _identity(conversation: Conversation) -> set[str]:
    return {conversation.opening, *(c.expression for c in conversation.calculations)}


def _question(
    generator: random.Random, numbers: Numbers, last: int | None, *, stories: bool
) -> tuple[str, Calculation]:
    """Return a question with its calculation; half of those that can go on from ``last`` do."""
    goes_on = last is not None and numbers.low <= last <= numbers.high and generator.random() < 0.5
    while True:
        sign = generator.choice("+-*/")
        calculation = _calculation(generator, numbers, sign, last if goes_on else None)
        if calculation is not None:
            break
    wordings = FOLLOW_UPS[sign] if goes_on else QUESTIONS[sign]
    if not stories:
        wordings = tuple(wording for wording in wordings if "{thing}" not in wording)
    text = generator.choice(wordings).format(
        a=calculation.a,
        b=calculation.b,
        name=generator.choice(NAMES),
        thing=generator.choice(THINGS),
    )
    return text, calculation


def _calculation(
    generator: random.Random, numbers: Numbers, sign: str, first: int | None
) -> Calculation | None:
    """Return a calculation in the range, or None if the drawn operands leave it."""
    b = numbers.draw(generator)
    if first is not None:
        a = first
    elif sign == "/":
        a = b * generator.randint(2, max(2, numbers.high // b))
    else:
        a = numbers.draw(generator)
    if a > numbers.high or (sign == "-" and a <= b) or (sign == "/" and (a % b or a == b)):
        return None
    calculation = Calculation(a, sign, b)
    return calculation if calculation.result <= numbers.largest_result else None


def _exchange(
    generator: random.Random, question: str, calculation: Calculation, call_id: str
) -> list[Message]:
    call = ToolCall(calculation.call().function, id=call_id)
    answer = generator.choice(ANSWERS).format(r=calculation.result)
    return [
        Message(Role.USER, question),
        Message(Role.ASSISTANT, tool_calls=[call]),
        Message(Role.TOOL, str(calculation.result), name="calculator", tool_call_id=call_id),
        Message(Role.ASSISTANT, answer),
    ]
