"""The first half minute of ``make fuzz`` with a fixed seed."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from tests.fuzz.calls import METHODS, Fuzzer
from tests.fuzz.parsers import fuzz, names, parsers
from tests.fuzz.server import served

SEED = 1

CALL_SECONDS = 20.0
PARSER_SECONDS = 1.0


@pytest.mark.timeout(180)
def test_random_calls_get_an_answer_with_a_reason(tmp_path: Path) -> None:
    with served(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        fuzzer = Fuzzer(channel)
        count = fuzzer.run(SEED, 20_000, time.monotonic() + CALL_SECONDS)
        assert count > len(METHODS)
        assert fuzzer.codes["OK"] > 0
        assert fuzzer.codes["INVALID_ARGUMENT"] > 0


@pytest.mark.parametrize("name", names())
def test_random_input_of_a_parser_is_read_or_refused(name: str, tmp_path: Path) -> None:
    count, _ = fuzz(parsers(tmp_path)[name], SEED, 400, time.monotonic() + PARSER_SECONDS)
    assert count > 10
