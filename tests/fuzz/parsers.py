"""Random input of the parsers that read what users and files bring."""

from __future__ import annotations

import contextlib
import json
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from services.domain.content.chat_template import template_problem
from services.domain.cursor import Cursor, decode_cursor
from services.domain.errors import InvalidInput
from services.domain.filter import parse_filter
from services.domain.pagination import decode_page_token, encode_page_token
from tailrace.formats.data.dataset_file import scan_records
from tailrace.formats.data.eval_item import scan_eval_items
from tailrace.formats.data.jsonl import LineErrors
from tailrace.formats.model.safetensors_header import header_length, read_header
from tailrace.formats.schema import SpecError, parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.spec_file import parse_yaml
from training.errors import ModelConfigError
from training.models.gguf.file import GgufFile

SECONDS = 5.0
"""Longest time for one input."""

QUERY = "query"


@dataclass(frozen=True)
class Parser:
    """A parser, valid inputs to begin with, and the errors that it may raise."""

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    errors: tuple[type[Exception], ...]


def _records(data: bytes) -> None:
    list(scan_records(data.splitlines(keepends=True), LineErrors()))


def _items(data: bytes) -> None:
    list(scan_eval_items(data.splitlines(keepends=True), LineErrors()))


def _run_file(data: bytes) -> None:
    document = parse_yaml(_text(data))
    if isinstance(document, dict):
        parse(RunSpec, document)


def _safetensors(data: bytes) -> None:
    size = len(data) + 8
    length = header_length(data[:1024], size)
    read_header(data[8 : 8 + length], size)


def _gguf(folder: Path) -> Callable[[bytes], None]:
    path = folder / "fuzz.gguf"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        file = GgufFile(path)
        for name in sorted(file.names)[:3]:
            file.shape(name)

    return read


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


_TRACE = {
    "prompt": "2 + 2?",
    "steps": [{"i": 0, "type": "calculation", "content": "adding"}],
    "answer": "4",
}
_MESSAGES = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
_HEADER = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
_RUN_FILE = b"""dataset: golden-v2
model: {preset: gpt2-nano}
train: &train {max_steps: 10, eval_fraction: 0.2}
infer: {eval_sets: ["dataset:train"]}
judges: [{name: answer_correctness}]
labels: {team: a}
"""
_GGUF_FILE = (
    b"GGUF"
    + struct.pack("<IQQ", 3, 1, 1)
    + struct.pack("<Q", 20)
    + b"general.architecture"
    + struct.pack("<IQ", 8, 5)
    + b"llama"
    + struct.pack("<Q", 1)
    + b"w"
    + struct.pack("<IQIQ", 1, 2, 0, 0)
    + bytes(64)
)


def parsers(folder: Path) -> Mapping[str, Parser]:
    """Return the parsers by name; ``folder`` is for files."""
    token = encode_page_token(["a", 1], QUERY).encode()
    lines = b"\n".join(json.dumps(record).encode() for record in (_TRACE, _MESSAGES))
    item = json.dumps({"prompt": "a", "answer": "b"}).encode()
    return {
        "JSON Lines of records": Parser(_records, (lines, json.dumps(_TRACE).encode()), ()),
        "JSON Lines of eval items": Parser(_items, (item, item + b"\n" + item), ()),
        "run files": Parser(_run_file, (_RUN_FILE,), (ValueError, SpecError)),
        "safetensors headers": Parser(
            _safetensors, (struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(8),), (ValueError,)
        ),
        "GGUF headers": Parser(_gguf(folder), (_GGUF_FILE,), (ModelConfigError,)),
        "cursors": Parser(
            lambda data: decode_cursor(_text(data)), (Cursor(1, 2, 3).encode().encode(),),
            (InvalidInput,),
        ),
        "page tokens": Parser(
            lambda data: decode_page_token(_text(data), QUERY, [str, int]), (token,),
            (InvalidInput,),
        ),
        "filters": Parser(
            lambda data: parse_filter(_text(data)),
            (b'state = RUNNING AND labels.team = "a" AND create_time >= 2026-01-01T00:00:00Z',),
            (InvalidInput,),
        ),
        "chat templates": Parser(
            lambda data: template_problem(_text(data)),
            (b"{% for m in messages %}{{ m.text | upper }}{% endfor %}{{ raise_exception(1) }}",),
            (),
        ),
    }  # fmt: skip


@st.composite
def _inputs(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Draw random bytes, or a valid input with a few changes."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + draw(st.integers(0, 12))] = b""
            case 1:
                data[at:at] = draw(st.binary(max_size=8))
            case 2:
                until = draw(st.integers(at, len(data)))
                data[at:at] = data[at:until] * draw(st.sampled_from([1, 2, 30]))
            case _:
                data[at : at + 1] = draw(st.sampled_from(_PIECES))
    return bytes(data[:20_000])


_PIECES = (
    b"\0",
    b"\xff" * 8,
    b"[" * 2000,
    b"{",
    b"}",
    b'"',
    b"&a [*a, *a]",
    b"<<: *train",
    b"1e400",
    b"9" * 400,
    b"NaN",
    b"\\ud800",
    "\u202e\u2028".encode(),
    b"{{",
    b"%}",
    b"(" * 300,
)


def fuzz(
    parser: Parser, number: int, count: int, stop_time: float = float("inf")
) -> tuple[int, float]:
    """Parse random inputs; return their number and the longest time.

    Raises:
        Exception: The parser raised an error that it may not raise, or took too long.
    """
    inputs, slowest = 0, 0.0

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=_inputs(parser.seeds))
    def batch(data: bytes) -> None:
        nonlocal inputs, slowest
        if time.monotonic() >= stop_time:
            return
        started = time.thread_time()
        with contextlib.suppress(parser.errors):
            parser.parse(data)
        seconds = time.thread_time() - started
        inputs, slowest = inputs + 1, max(slowest, seconds)
        if seconds > SECONDS:
            raise AssertionError(f"took {seconds:.1f} s for {data[:200]!r}")

    batch()
    return inputs, slowest


def names() -> list[str]:
    """Return the names of all parsers."""
    return list(parsers(Path()))
