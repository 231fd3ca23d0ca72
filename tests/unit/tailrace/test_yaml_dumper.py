from __future__ import annotations

import pytest

from tailrace.spec_file import parse_yaml
from tailrace.yaml_dumper import dump


@pytest.mark.parametrize(
    "text",
    ["1e5", "0o17", "1_000", "010", "1:30", "no", "null", "~", "<<", "2026-01-01", ".5", "- a",
     "a: b", "# a", "", " edges ", "line\nline\n", "\ttab", "\u2028", "a\nb\x85", "\x85", "\r\n",
     "\u202e", "🙂"],
)  # fmt: skip
def test_the_loader_reads_every_text_back(text: str) -> None:
    assert parse_yaml(dump({"key": text, text or "x": [text]})) == {
        "key": text,
        text or "x": [text],
    }


def test_numbers_keep_their_values_and_types() -> None:
    values = [0, -1, 10**20, 2e-5, 1e300, 0.1, -0.0, True, False, None]
    assert repr(parse_yaml(dump(values))) == repr(values)


def test_a_text_of_several_lines_is_a_block_and_equal_values_are_written_out() -> None:
    shared = ["one"]
    text = dump({"a": shared, "b": shared, "template": "first\nsecond\n"})
    assert text == "a:\n- one\nb:\n- one\ntemplate: |\n  first\n  second\n"
