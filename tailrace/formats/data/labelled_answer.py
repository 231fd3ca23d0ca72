"""Labelled answers: verdicts of people, for the calibration of judges."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.schema import key


class Label(enum.StrEnum):
    """A person's verdict on an answer."""

    PASS = "pass"
    FAIL = "fail"


@dataclass(frozen=True)
class LabelledAnswer:
    """An answer that a person has judged: one line of a labels file."""

    id: str = key("Name of the answer.", minimum=1, max_length=128)
    item: EvalItem = key("The eval item.")
    text: str = key("Text that answers the item.", max_length=16_777_216)
    label: Label = key("The person's verdict.")
    why: str = key("The person's reason.", default="", max_length=100_000)
