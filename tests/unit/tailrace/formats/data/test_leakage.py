from __future__ import annotations

import pytest

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.leakage import MAX_PROMPTS, leaked_ids, prompt_words

LONG = (
    "A farmer keeps nine hens and four geese, sells half of the geese at the market and buys "
    "three more hens; how many birds are there now?"
)


def leaks(question: str, *prompts: str) -> bool:
    return leaked_ids([EvalItem("q", question, "x")], prompts) == {"q"}


@pytest.mark.parametrize(
    "prompt",
    ["What is 7 + 5?", "  what IS 7 + 5", "What is 7+5 ?", "“What is 7 + 5?”", "What is ７ + ５?"],
)
def test_a_prompt_that_differs_in_dress_only_leaks(prompt: str) -> None:
    assert leaks("What is 7 + 5?", "Who was it?", prompt)


@pytest.mark.parametrize(
    "prompt", ["What is 7 - 5?", "What is 7 + 6?", "What is 75?", "What is", "7 + 5"]
)
def test_a_like_prompt_does_not_leak(prompt: str) -> None:
    assert not leaks("What is 7 + 5?", prompt)


def test_parentheses_are_part_of_a_sum() -> None:
    assert not leaks("What is 2 * (3 + 4)?", "What is 2 * 3 + 4?")


def test_a_question_inside_a_longer_prompt_leaks() -> None:
    assert leaks(LONG, f"Think first. {LONG} Explain it.")


def test_a_question_with_other_words_at_its_end_leaks() -> None:
    words = LONG.split()
    assert leaks(LONG, " ".join([*words[:-4], "counting", "all", "of", "them"]))


def test_a_question_with_other_numbers_does_not_leak() -> None:
    assert not leaks(LONG, LONG.replace("four", "six").replace("three", "two").replace("nine", "5"))


def test_half_a_question_does_not_leak() -> None:
    assert not leaks(LONG, " ".join(LONG.split()[:13]))


def test_a_common_form_of_words_does_not_leak() -> None:
    form = "Answer the question below in one short line, and start that line with the word"
    question = f"{form} Answer. Capital of Peru?"
    few = [f"{form} Answer. Capital of {n}?" for n in range(MAX_PROMPTS)]
    assert leaks(question, *few)
    assert not leaks(question, *few, f"{form} Answer. Capital of Chad?")


def test_the_same_prompt_many_times_is_one_prompt() -> None:
    assert leaks(LONG, *[f"{LONG} Why?"] * 50)


def test_only_the_leaked_items_are_named() -> None:
    items = [EvalItem("a", "What is 1 + 1?", "2"), EvalItem("b", "What is 1 + 2?", "3")]
    assert leaked_ids(items, ["What is 1 + 2?"]) == {"b"}
    assert leaked_ids(items, []) == set()


def test_a_prompt_of_punctuation_alone_equals_only_its_like() -> None:
    assert prompt_words("?!") == ()
    assert not leaks("?!", LONG)
