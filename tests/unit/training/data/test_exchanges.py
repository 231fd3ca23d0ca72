from __future__ import annotations

from tailrace.formats.data.message import Message, Role
from tailrace.formats.spec.methods import TrainOn
from tests.unit.training.data.chat_templates import TOOLS, calls, chat
from training.data.conversation import Conversation
from training.data.exchanges import Fitted, fitting

FORMAT = chat(TOOLS)
USER, ASSISTANT = Role.USER, Role.ASSISTANT
LONG = Conversation(
    [
        Message(Role.SYSTEM, "System."),
        Message(Role.DEVELOPER, "Developer."),
        Message(USER, "First?"),
        calls("add", a=1),
        Message(Role.TOOL, "Result.", tool_call_id="1"),
        Message(ASSISTANT, "One."),
        Message(USER, "Second?"),
        Message(ASSISTANT, "Two."),
        Message(USER, "Third?"),
        Message(ASSISTANT, "Three."),
        Message(USER, "Fourth?"),
    ],
    3,
)


def fit(conversation: Conversation, limit: int) -> Fitted | None:
    return fitting(conversation, limit, lambda c: FORMAT.encode(c, TrainOn.ALL_ASSISTANT))


def length(*indices: int) -> int:
    messages = [LONG.messages[i] for i in indices]
    return FORMAT.encode(Conversation(messages, 0), TrainOn.ALL_ASSISTANT).learnt_length


def test_whole_exchanges_are_left_out_oldest_first_and_no_more_than_needed() -> None:
    sizes = [length(*range(11)), length(0, 1, 6, 7, 8, 9, 10), length(0, 1, 8, 9, 10)]
    assert sizes == sorted(sizes, reverse=True)
    for left_out, (size, larger) in enumerate(zip(sizes, [sizes[0] + 9, *sizes], strict=False)):
        for limit in (size, larger - 1):
            fitted = fit(LONG, limit)
            assert fitted is not None
            assert (fitted.left_out, fitted.example.learnt_length) == (left_out, size)
            assert "System." in fitted.example.text
            assert "Developer." in fitted.example.text
            assert ("Result." in fitted.example.text) == (left_out == 0)
            assert ("Second?" in fitted.example.text) == (left_out < 2)
            assert fitted.example.text.endswith("Fourth?<|im_end|>\n")


def test_the_last_exchange_with_an_answer_is_never_left_out() -> None:
    assert fit(LONG, length(0, 1, 8, 9, 10) - 1) is None


def test_a_conversation_that_begins_with_the_assistant_loses_its_greeting_first() -> None:
    messages = [Message(ASSISTANT, "Greeting."), *LONG.messages[8:10]]
    fitted = fit(Conversation(messages, 0), length(8, 9))
    assert fitted is not None
    assert fitted.left_out == 1
    assert "Greeting." not in fitted.example.text


def test_the_completion_stays_the_completion() -> None:
    completion = Conversation(LONG.messages[:10], 9)
    fitted = fitting(
        completion,
        length(0, 1, 8, 9),
        lambda c: FORMAT.encode(c, TrainOn.COMPLETION),
    )
    assert fitted is not None
    assert fitted.left_out == 2
    learnt = [t for t, m in zip(fitted.example.tokens, fitted.example.mask, strict=True) if m]
    assert FORMAT.written([int(t) for t in learnt]) == "Three.<|im_end|>"


def test_plain_text_fits_or_does_not() -> None:
    text = Conversation([], 0, text="abc")
    size = FORMAT.encode(text, TrainOn.EVERYTHING).learnt_length
    fitted = fit(text, size)
    assert fitted is not None
    assert fitted.left_out == 0
    assert fit(text, size - 1) is None


def test_few_conversations_are_encoded() -> None:
    messages = [m for i in range(200) for m in (Message(USER, f"{i}?"), Message(ASSISTANT, "a"))]
    encoded = []

    def encode(conversation: Conversation) -> object:
        encoded.append(len(conversation.messages))
        return FORMAT.encode(conversation, TrainOn.LAST_ASSISTANT)

    fitted = fitting(Conversation(messages, 1), 100, encode)  # type: ignore[arg-type]
    assert fitted is not None
    assert len(encoded) <= 10
