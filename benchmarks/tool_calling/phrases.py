"""Wordings of the conversations: questions, follow-ups, answers and small talk.

``{a}`` and ``{b}`` are the operands in the order of the expression, ``{r}`` is its result.
"""

from __future__ import annotations

QUESTIONS: dict[str, tuple[str, ...]] = {
    "+": (
        "What is {a} plus {b}?",
        "Add {b} to {a}.",
        "Compute the sum of {a} and {b}.",
        "How much is {a} + {b}?",
        "Sum up {a} and {b}.",
        "How much are {a} and {b} together?",
        "I had {a} {thing} and bought {b} more. How many do I have?",
        "{name} counted {a} {thing} on Monday and {b} on Tuesday. How many in all?",
        "There are {a} {thing} in one box and {b} in the other. Total?",
        "What do {a} and {b} make?",
    ),
    "-": (
        "What is {a} minus {b}?",
        "Subtract {b} from {a}.",
        "Compute the difference of {a} and {b}.",
        "How much is {a} - {b}?",
        "Take {b} away from {a}.",
        "What is {b} less than {a}?",
        "I had {a} {thing} and gave away {b}. How many are left?",
        "{name} needs {a} {thing} and has {b}. How many are missing?",
        "Of {a} {thing}, {b} were sold. How many remain?",
        "How much is {a} above {b}?",
    ),
    "*": (
        "What is {a} times {b}?",
        "Multiply {a} by {b}.",
        "Compute the product of {a} and {b}.",
        "How much is {a} * {b}?",
        "I need {a} multiplied by {b}.",
        "Work out {a} x {b}.",
        "{name} has {a} boxes with {b} {thing} each. How many are that?",
        "A shop packs {a} crates of {b} {thing}. How many {thing} in total?",
        "There are {a} rows of {b} {thing}. How many are there?",
        "What is {a} taken {b} times?",
    ),
    "/": (
        "What is {a} divided by {b}?",
        "Divide {a} by {b}.",
        "Compute the quotient of {a} and {b}.",
        "How much is {a} / {b}?",
        "How often is {b} in {a}?",
        "Split {a} into {b} equal parts.",
        "{name} shares {a} {thing} among {b} people. How many does each get?",
        "A shop puts {a} {thing} into {b} boxes. How many per box?",
        "{a} {thing} stand in {b} equal rows. How many are in one?",
        "What is {a} over {b}?",
    ),
}
"""Questions by operation; those with a ``{thing}`` are small stories."""

FOLLOW_UPS: dict[str, tuple[str, ...]] = {
    "+": ("Now add {b}.", "And {b} more?", "Add {b} to that, please.", "Plus {b}?"),
    "-": ("Now subtract {b}.", "And {b} less?", "Take {b} away from that.", "Minus {b}?"),
    "*": ("Now multiply by {b}.", "And {b} times that?", "Multiply that by {b}.", "Times {b}?"),
    "/": ("Now divide by {b}.", "And split by {b}?", "Divide that by {b}.", "Over {b}?"),
}
"""Questions that go on with the last result, by operation."""

ANSWERS = ("{r}.", "It is {r}.", "The answer is {r}.", "That makes {r}.", "We get {r}.")
"""The assistant's answers."""

SYSTEMS = (
    "Use the calculator.",
    "You are a helpful assistant.",
    "Answer briefly.",
    "You help with sums.",
    "Calculate with the tool.",
)
"""System messages, shorter than the sentence that templates put in place of a missing one."""

CLOSINGS = (
    ("Thanks!", "You are welcome."),
    ("Thank you.", "My pleasure."),
    ("Great, that helps.", "Glad to help."),
    ("That is all.", "See you."),
)
"""Small talk that needs no tool, with its reply."""

NAMES = ("Ada", "Ben", "Chen", "Dora", "Emil", "Fatma", "Gus", "Hana", "Ivo", "June")
"""People of the stories."""

THINGS = ("apples", "books", "cards", "cups", "eggs", "nails", "pens", "shells", "stamps", "tiles")
"""Objects of the stories."""
