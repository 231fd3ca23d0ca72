from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.training.serving.api.scripted import Scripted
from training.errors import DataError
from training.generate.sampling import Sampling
from training.models.family import Model, Params
from training.serving.conversation import Conversation
from training.serving.shapes import Shapes
from training.serving.terminal import Terminal


class Chat:
    """A conversation with a scripted model, and the prompts that it has seen."""

    def __init__(self, model: Model, params: Params, system: str = "") -> None:
        scripted = Scripted(model, params)
        scripted.socket.close()
        self.engine: Any = scripted.engine
        served = scripted.api._model
        self.conversation = Conversation(served, Sampling(max_new_tokens=100), system)
        self.written = served.chat.written

    def ask(self, question: str) -> str:
        return "".join(parts.content for parts in self.conversation.ask(question))

    @property
    def prompts(self) -> list[str]:
        return [self.written(job.prompt) for job in self.engine.jobs]


@pytest.fixture
def chat(model: Model, params: Params) -> Chat:
    return Chat(model, params, "Be brief.")


def test_the_history_is_part_of_the_prompt_until_it_is_reset(chat: Chat) -> None:
    assert chat.ask("One?") == "fine"
    chat.ask("Two?")
    assert "Be brief." in chat.prompts[1]
    assert chat.prompts[1].index("One?") < chat.prompts[1].index("fine")
    chat.conversation.reset()
    chat.ask("Three?")
    assert "One?" not in chat.prompts[2]


def test_thinking_is_kept_apart(chat: Chat) -> None:
    chat.engine.text = "<think>hm</think>yes"
    assert chat.ask("One?") == "yes"
    assert chat.conversation.last is not None
    assert (chat.conversation.last.reasoning, chat.conversation.last.answer) == ("hm", "yes")


def test_old_exchanges_are_left_out_of_a_long_conversation(chat: Chat) -> None:
    chat.engine.shapes = Shapes(slots=1, rows=1, context=512)
    chat.engine.text = "y" * 40
    for number in range(8):
        chat.ask(f"question {number} " + "x" * 40)
    assert chat.conversation.last is not None
    assert chat.conversation.last.left_out > 0
    assert "question 0" not in chat.prompts[-1]
    assert "Be brief." in chat.prompts[-1]
    assert all(len(job.prompt) <= 512 - 100 for job in chat.engine.jobs)
    with pytest.raises(DataError, match=r"the question takes .* tokens, at most 412"):
        chat.ask("z" * 1000)


def test_an_interrupted_answer_ends_and_is_kept(chat: Chat) -> None:
    chat.engine.text, chat.engine.hangs = "one two", True
    answer: Any = chat.conversation.ask("One?")
    for _ in range(4):
        next(answer)
    with pytest.raises(KeyboardInterrupt):
        answer.throw(KeyboardInterrupt())
    assert chat.engine.cancelled == [(chat.engine.jobs[0], None)]
    assert chat.conversation.last is not None
    assert chat.conversation.last.finish_reason == "interrupted"
    chat.engine.hangs = False
    chat.ask("Two?")
    assert "One?" in chat.prompts[1]


@pytest.fixture
def piped(chat: Chat, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Iterator[Any]:
    def run(text: str, *, as_json: bool = False) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        Terminal(chat.conversation, as_json=as_json).run()
        return str(capsys.readouterr().out)

    return run


def test_a_question_per_line_has_an_answer_per_line(chat: Chat, piped: Any) -> None:
    assert piped("One?\n\nTwo?\n") == "fine\nfine\n"
    assert "One?" in chat.prompts[1]


def test_commands_work_in_a_file_of_questions(chat: Chat, piped: Any) -> None:
    assert piped("One?\n/system Rhyme.\nTwo?\n/reset\n/unknown") == "fine\nfine\nfine\n"
    assert "Rhyme." in chat.prompts[1]
    assert "One?" not in chat.prompts[1]
    assert "/unknown" in chat.prompts[2]


def test_documents_for_programs(chat: Chat, piped: Any) -> None:
    chat.engine.text = "<think>hm</think>yes"
    first, second = map(json.loads, piped("One?\nTwo?\n", as_json=True).splitlines())
    assert first["question"] == "One?"
    assert (first["answer"], first["reasoning"], first["finish_reason"]) == ("yes", "hm", "stop")
    assert second["prompt_tokens"] > first["prompt_tokens"]


def test_text_of_a_model_does_not_steer_the_terminal(chat: Chat, piped: Any) -> None:
    chat.engine.text = "\x1b[31mred"
    assert piped("One?\n") == "\\x1b[31mred\n"


class Person(io.StringIO):
    """Standard input of a person, who presses Ctrl-C at some lines."""

    def isatty(self) -> bool:
        return True


def test_ctrl_c_stops_the_answer_and_not_the_chat(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    lines = iter(["One?", KeyboardInterrupt, "/help", "Two?", EOFError])

    def read(_: str) -> str:
        line: Any = next(lines)
        if not isinstance(line, str):
            raise line
        return line

    questions: list[str] = []
    ask = chat.conversation.ask

    def stopping(question: str) -> Any:
        questions.append(question)
        if question == "One?":
            raise KeyboardInterrupt
        return ask(question)

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr(sys, "stdin", Person())
    monkeypatch.setattr(chat.conversation, "ask", stopping)
    Terminal(chat.conversation, as_json=False).run()
    output = capsys.readouterr()
    assert questions == ["One?", "Two?"]
    assert output.out.endswith("fine\n")
    assert "/exit or Ctrl-D ends the chat" in output.err
    assert "/reset" in output.err
