"""The mask has each assistant turn with the token that ends it, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tailrace.formats.data.message import Message, Role
from tailrace.formats.spec.methods import TrainOn
from tests.unit.training.chat_folder import chat_tokenizer
from tests.unit.training.data.chat_templates import (
    CHATML,
    DROPS_THINKING,
    MARKED,
    TOOLS,
    calls,
    chat,
    learnt,
    said,
)
from training.data.chat_format import ChatFormat, ConversationError
from training.data.conversation import Conversation, template_message
from training.data.masking import untrainable_error
from training.errors import ConfigError

ALL, LAST = TrainOn.ALL_ASSISTANT, TrainOn.LAST_ASSISTANT
COMPLETION, EVERYTHING = TrainOn.COMPLETION, TrainOn.EVERYTHING
HELLO = said("Hi", "Hello!", "More?", "No.")


def whole(format_: ChatFormat, conversation: Conversation, **further: Any) -> Any:
    messages = [template_message(message) for message in conversation.messages]
    tools = list(conversation.tools) or None
    return format_.tokenizer.apply_chat_template(messages, tools=tools, return_dict=True, **further)


def weighted(conversation: Conversation, *weightless: int) -> Conversation:
    messages = [
        dataclasses.replace(message, weight=0) if i in weightless else message
        for i, message in enumerate(conversation.messages)
    ]
    return dataclasses.replace(conversation, messages=messages)


@pytest.mark.parametrize("template", [CHATML, MARKED])
@pytest.mark.parametrize(
    ("train_on", "turns"),
    [
        (ALL, ["Hello!<|im_end|>", "No.<|im_end|>"]),
        (LAST, ["No.<|im_end|>"]),
        (COMPLETION, ["No.<|im_end|>"]),
    ],
)
def test_turns_end_with_their_end_token(template: str, train_on: TrainOn, turns: list[str]) -> None:
    conversation = dataclasses.replace(HELLO, prompt_length=3)
    format_ = chat(template)
    example = format_.encode(conversation, train_on)
    assert learnt(example) == turns
    assert list(example.tokens) == whole(format_, conversation)["input_ids"]
    assert example.text.endswith("No.<|im_end|>\n")
    assert example.learnt_length == len(example.tokens) - 1
    assert not example.untrainable


def test_everything_is_all_text_but_messages_without_weight() -> None:
    format_ = chat()
    assert format_.encode(HELLO, EVERYTHING).mask.all()
    first, rest = learnt(format_.encode(weighted(HELLO, 1), EVERYTHING))
    assert first.endswith("assistant\n")
    assert rest == "\n<|im_start|>user\nMore?<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>\n"


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_a_message_without_weight_is_not_learnt(template: str) -> None:
    format_ = chat(template)
    assert learnt(format_.encode(weighted(HELLO, 1), ALL)) == ["No.<|im_end|>"]
    assert learnt(format_.encode(weighted(HELLO, 3), ALL)) == ["Hello!<|im_end|>"]
    assert format_.encode(weighted(HELLO, 3), LAST).learnt_length == 0


MARKS = [
    MARKED,
    MARKED.replace("{{ m['content'] }}{% endg", "{{ m['content'] + '<|im_end|>' }}{% endg", 1),
    MARKED.replace("{{ m['content'] }}{% endg", "{{ m['content'] + '<|im_end|>\n' }}{% endg", 1),
]


@pytest.mark.parametrize("template", MARKS)
@pytest.mark.parametrize("contents", [("Hi", "Hello! ", "?", "é 🙂 é!"), ("", "a\n\n", "\n", "b")])
def test_marked_turns_are_those_of_transformers_but_for_the_end(
    template: str, contents: Sequence[str]
) -> None:
    format_, conversation = chat(template), said(*contents)
    example = format_.encode(conversation, ALL)
    expected = whole(format_, conversation, return_assistant_tokens_mask=True)
    assert list(example.tokens) == expected["input_ids"]
    end = format_.tokenizer.convert_tokens_to_ids("<|im_end|>")
    feed = format_.tokenizer.convert_tokens_to_ids("Ċ")
    differing = np.flatnonzero(example.mask != np.asarray(expected["assistant_masks"], bool))
    after_end = {(int(example.tokens[i - 1]), int(example.tokens[i])) for i in differing}
    assert all(token == end or pair == (end, feed) for pair in after_end for token in pair[1:])
    assert [turn.removesuffix("<|im_end|>") for turn in learnt(example)] == list(contents[1::2])


def test_blocks_are_matched_with_messages_where_one_has_several() -> None:
    two = MARKED.replace(
        "{% generation %}{{ m['content'] }}{% endgeneration %}",
        "{% generation %}{{ m['content'][:2] }}{% endgeneration %}{{ '-' }}"
        "{% generation %}{{ m['content'][2:] }}{% endgeneration %}",
    )
    assert learnt(chat(two).encode(weighted(HELLO, 1), ALL)) == ["No", ".<|im_end|>"]
    assert learnt(chat(two).encode(weighted(HELLO, 3), ALL)) == ["He", "llo!<|im_end|>"]


def test_a_turn_without_a_block_cannot_be_learnt() -> None:
    last = MARKED.replace("{% if m.role == 'assistant' %}", "{% if loop.last %}")
    example = chat(last).encode(HELLO, ALL)
    assert (learnt(example), example.untrainable) == (["No.<|im_end|>"], [1])
    example = chat(last).encode(HELLO, LAST)
    assert (learnt(example), example.untrainable) == (["No.<|im_end|>"], [])
    twice = last.replace(
        "{% generation %}{{ m['content'] }}{% endgeneration %}",
        "{% generation %}{{ m['content'] }}{% endgeneration %}{% generation %}{{ '' }}"
        "{% endgeneration %}",
    )
    assert learnt(chat(twice).encode(HELLO, LAST)) == ["No.<|im_end|>"]
    never = MARKED.replace("{% if m.role == 'assistant' %}", "{% if m.role == 'nobody' %}")
    assert chat(never).encode(HELLO, LAST).untrainable == [3]


ANSWERS = (
    "{% macro write(m) %}{{ '<|im_start|>' + m['role'] + '\n' }}{% generation %}{{ m['content'] }}"
    "{{ '<|im_end|>' }}{% endgeneration %}{% endmacro %}"
)


@pytest.mark.parametrize(
    "template",
    [
        ANSWERS + "{% for m in messages %}{{ write(m) }}{% endfor %}",
        "{% set text %}" + MARKED + "{% endset %}{{ 'Begin. ' + text }}",
        "{% filter trim %}{{ '  ' }}" + MARKED + "{% endfilter %}",
    ],
)
def test_blocks_whose_places_are_unknown_are_refused(template: str) -> None:
    for conversation in (HELLO, said("Hi", "Hello!")):
        with pytest.raises(ConversationError, match=r"blocks inside a macro, .* move them out"):
            chat(template).encode(conversation, ALL)
    assert "Hi" in chat(template).written(chat(template).prompt("Hi"))


CALL = Conversation(
    [
        Message(Role.SYSTEM, "Be exact."),
        Message(Role.USER, "1 + 2?"),
        calls("add", b=2, a=[1, "ü"]),
        Message(Role.TOOL, '{"sum": 3}', name="add", tool_call_id="1"),
        Message(Role.ASSISTANT, "It is 3."),
        Message(Role.USER, "Thanks"),
    ],
    2,
    tools=[{"type": "function", "function": {"name": "add", "parameters": {}}}],
)


def test_calls_of_tools_are_learnt_and_results_are_not() -> None:
    format_ = chat(TOOLS)
    example = format_.encode(CALL, ALL)
    assert list(example.tokens) == whole(format_, CALL)["input_ids"]
    call = '{"name": "add", "arguments": {"b": 2, "a": [1, "ü"]}}'
    assert learnt(example) == [
        f"<tool_call>\n{call}\n</tool_call><|im_end|>",
        "It is 3.<|im_end|>",
    ]
    assert '<|im_start|>tools\n[{"type": "function", ' in example.text


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_calls_and_tools_that_a_template_leaves_out_are_refused(template: str) -> None:
    format_ = chat(template)
    says = "chat_template to one with a form for tools, such as qwen2.5"
    untold = dataclasses.replace(CALL, tools=())
    for train_on in (ALL, EVERYTHING):
        with pytest.raises(ConversationError, match=rf"the call of add in messages\[2\]: .*{says}"):
            format_.encode(untold, train_on)
    with pytest.raises(ConversationError, match=f"leaves out the tool add: .*{says}"):
        format_.encode(CALL, LAST)
    # A call that is not learnt is context alone.
    assert learnt(format_.encode(untold, LAST)) == ["It is 3.<|im_end|>"]


def test_each_token_has_the_role_of_its_author() -> None:
    example = chat(TOOLS).encode(CALL, ALL)
    texts = dict.fromkeys([*Role, None], "")
    shown = 0
    for (_, end), role in zip(example.spans, example.roles, strict=True):
        texts[role] += example.text[shown:end]
        shown = max(shown, int(end))
    assert texts[Role.USER] == "1 + 2?Thanks"
    assert texts[Role.SYSTEM] == "Be exact."
    assert texts[Role.TOOL] == '{"sum": 3}'
    assert texts[Role.ASSISTANT] == "".join(learnt(example))


THOUGHT = [
    Message(Role.USER, "a"),
    Message(Role.ASSISTANT, "A", reasoning_content="Hm."),
    Message(Role.USER, "b"),
    Message(Role.ASSISTANT, "B", reasoning_content="Well."),
]


def test_turns_that_a_template_changes_afterwards_are_reported() -> None:
    conversation = Conversation(THOUGHT, 1)
    keeps = chat(TOOLS).encode(conversation, ALL)
    assert len(learnt(keeps)) == 2
    assert (keeps.untrainable, keeps.lost_reasoning) == ([], [])
    drops = chat(DROPS_THINKING)
    example = drops.encode(conversation, ALL)
    last = "<think>\nWell.\n</think>\n\nB<|im_end|>"
    assert (learnt(example), example.untrainable) == ([last], [1])
    example = drops.encode(conversation, LAST)
    assert (learnt(example), example.untrainable, example.lost_reasoning) == ([last], [], [])
    # Without weight, a turn need not be learnt.
    assert drops.encode(weighted(conversation, 1), ALL).untrainable == []


def test_the_error_for_such_turns_counts_them_and_names_the_ways_out() -> None:
    error = str(untrainable_error(3, 2, "500 examples", ALL))
    assert error.startswith("3 assistant turns in 2 of 500 examples cannot be learnt: ")
    assert "set train_on: last_assistant, or override it by a template" in error
    assert "last_assistant" not in str(untrainable_error(1, 1, "1 example", LAST))


def test_reasoning_that_a_template_ignores_is_reported() -> None:
    example = chat(CHATML).encode(Conversation(THOUGHT, 1), ALL)
    assert learnt(example) == ["A<|im_end|>", "B<|im_end|>"]
    assert (example.untrainable, example.lost_reasoning) == ([], [1, 3])
    assert chat(CHATML).encode(Conversation(THOUGHT, 1), LAST).lost_reasoning == [3]


def test_reasoning_goes_into_the_block_that_the_prompt_has_opened() -> None:
    opens = (
        "{% for m in messages %}{{ '<|im_start|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<s><think>\n' }}{% endif %}"
    )
    example = chat(opens).encode(Conversation(THOUGHT, 1), LAST)
    assert learnt(example) == ["Well.\n</think>\n\nB<|im_end|>"]
    assert example.text == (
        "<|im_start|>a<|im_end|><|im_start|>A<|im_end|><|im_start|>b<|im_end|><s><think>\n"
        "Well.\n</think>\n\nB<|im_end|>"
    )
    assert (example.untrainable, example.lost_reasoning) == ([], [])
    assert chat(opens).encode(Conversation(THOUGHT, 1), ALL).untrainable == [1]


ASKS = "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
PLAIN = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}" + ASKS
ENDS_WITH_TEXT = PLAIN.replace("+ '\n' }}", "+ '\n== end ==\n' }}", 1)


@pytest.mark.parametrize(
    ("template", "turns"),
    [
        (PLAIN, ["Hello!", "No.<|endoftext|>"]),
        (ENDS_WITH_TEXT, ["Hello!\n== end ==", "No.\n== end ==<|endoftext|>"]),
    ],
)
def test_a_last_turn_without_an_end_token_gets_the_tokenizers(
    template: str, turns: list[str]
) -> None:
    example = chat(template).encode(HELLO, ALL)
    assert learnt(example) == turns
    assert example.text.endswith("<|endoftext|>")
    assert example.text.count("<|endoftext|>") == 1
    unfinished = chat(template).encode(said("Hi", "Hello!", "More?"), LAST)
    assert "<|endoftext|>" not in unfinished.text


def test_another_end_of_turns_that_call_tools_ends_them() -> None:
    other = TOOLS.replace("{{ '<|im_end|>\n' }}", "{{ '<s>' if m.tool_calls else '<|im_end|>' }}")
    format_ = chat(other)
    assert format_.ends == {0, 2, 3}
    call, answer = learnt(format_.encode(CALL, ALL))
    assert call.endswith("</tool_call><s>")
    assert answer == "It is 3.<|im_end|>"


def test_a_template_that_ends_a_conversation_in_its_own_way_keeps_its_turns() -> None:
    closes = CHATML.replace("{% endif %}", "{% else %}{{ eos_token }}{% endif %}")
    example = chat(closes).encode(HELLO, ALL)
    assert learnt(example) == ["Hello!<|im_end|>", "No.<|im_end|>"]
    assert not example.untrainable


@pytest.mark.parametrize("answer", ["🙂", "é", "  x  ", "tail \n\n", "👩‍👩‍👧", "שלום", "\ufeffa"])
@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_text_at_the_edge_of_a_turn_is_learnt_whole(template: str, answer: str) -> None:
    example = chat(template).encode(said("🙂é", answer, "🙂\n", answer), ALL)
    assert learnt(example) == [f"{answer}<|im_end|>"] * 2


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_a_token_across_the_edge_of_a_turn_is_learnt_as_in_transformers(template: str) -> None:
    tokenizer = chat_tokenizer(template)
    tokenizer.add_tokens(["\n\n"])
    format_, conversation = ChatFormat(tokenizer), said("Hi", "\nHo", "?", "b")
    example = format_.encode(conversation, ALL)
    assert learnt(example) == ["\n\nHo<|im_end|>", "b<|im_end|>"]
    expected = whole(format_, conversation, return_assistant_tokens_mask=template is MARKED)
    assert list(example.tokens) == expected["input_ids"]
    first = list(example.tokens).index(tokenizer.convert_tokens_to_ids("\n\n"))
    assert expected.get("assistant_masks", {first: 1})[first] == 1


def test_white_space_that_offsets_leave_out_belongs_to_the_next_token() -> None:
    from tokenizers.processors import ByteLevel

    tokenizer = chat_tokenizer(CHATML.replace("assistant\n", "assistant:"))
    tokenizer.backend_tokenizer.post_processor = ByteLevel(trim_offsets=True)
    example = ChatFormat(tokenizer).encode(said("Hi", "  x ", "?", " y\n"), LAST)
    assert learnt(example) == [" y\n<|im_end|>"]
    assert "".join(example.text[b:e] for b, e in example.spans) == example.text


def test_the_text_that_begins_every_text_occurs_once() -> None:
    tokenizer = chat_tokenizer("{{ bos_token }}" + CHATML, bos=True)
    format_ = ChatFormat(tokenizer)
    for train_on in (ALL, EVERYTHING):
        assert list(format_.encode(HELLO, train_on).tokens).count(3) == 1
    assert format_.prompt_tokens(HELLO.messages[:1]).count(3) == 1


def test_plain_text_is_learnt_whole_between_the_tokenizers_begin_and_end() -> None:
    format_ = ChatFormat(chat_tokenizer(bos=True))
    text = "Once <|im_end|> upon 🙂"
    example = format_.encode(Conversation([], 0, text=text), COMPLETION)
    assert example.text == f"<s>{text}<|endoftext|>"
    assert learnt(example) == [example.text]
    assert [int(t) for t in example.tokens if t < 4] == [3, 0]
    plain = format_.encode(Conversation([], 0, text="Once upon"), COMPLETION)
    assert [int(t) for t in plain.tokens] == [*format_.tokenizer("Once upon")["input_ids"], 0]


def test_variables_reach_the_template_in_training_and_generation() -> None:
    template = "{{ mood | default('calm') }} " + CHATML
    assert chat(template).encode(HELLO, ALL).text.startswith("calm <|im_start|>")
    angry = chat(template, kwargs={"mood": "angry"})
    assert angry.encode(HELLO, ALL).text.startswith("angry <|im_start|>")
    assert angry.written(angry.prompt("Hi")).startswith("angry <|im_start|>user\nHi")
    with pytest.raises(ConfigError, match=r"chat_template_kwargs.messages cannot be set"):
        chat(kwargs={"messages": []})


@pytest.mark.parametrize(
    ("template", "conversation"), [(CHATML, HELLO), (MARKED, HELLO), (TOOLS, CALL)]
)
def test_prompts_are_the_beginning_of_the_trained_text(
    template: str, conversation: Conversation
) -> None:
    format_ = chat(template)
    roles = [message.role for message in conversation.messages]
    last = len(roles) - 1 - roles[::-1].index(Role.ASSISTANT)
    prompt = format_.prompt_tokens(conversation.messages[:last], conversation.tools)
    example = format_.encode(conversation, LAST)
    assert list(example.tokens[: len(prompt)]) == prompt
    assert int(example.mask.argmax()) == len(prompt)


def test_a_template_with_another_one_for_tools_uses_it() -> None:
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = {"default": CHATML, "tool_use": TOOLS}
    example = ChatFormat(tokenizer).encode(CALL, ALL)
    assert example.text.startswith("<|im_start|>tools\n")


def test_a_refused_conversation_does_not_stop_the_others() -> None:
    strict = (
        "{% for m in messages %}{% if loop.index0 % 2 != (m.role == 'assistant') | int %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
    )
    format_ = chat(strict + CHATML)
    wrong = Conversation([Message(Role.ASSISTANT, "Hi")], 0)
    examples = list(format_.encode_all([HELLO, wrong, HELLO], ALL))
    assert [isinstance(e, ConversationError) for e in examples] == [False, True, False]
    with pytest.raises(ConversationError, match=r"refuses the conversation: .*must alternate"):
        format_.encode(wrong, ALL)
    with pytest.raises(ConversationError, match="roles must alternate"):
        format_.prompt_tokens([Message(Role.USER, "a"), Message(Role.USER, "b")])
