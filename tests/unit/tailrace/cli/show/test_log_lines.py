from __future__ import annotations

import json

from tailrace.cli.show.log_lines import SHOWN_LINES, last_words, short_text


def test_json_becomes_short_text() -> None:
    line = json.dumps(
        {
            "timestamp": "2026-01-01T00:00:00Z",
            "level": "error",
            "logger": "services",
            "event": "cannot start",
            "error": "no such folder",
            "exception": "Traceback (most recent call last):\n  File x\nOSError: no such folder",
        }
    )
    assert short_text(line) == "ERROR cannot start error=no such folder OSError: no such folder"


def test_other_text_stays_and_is_cut() -> None:
    assert short_text("plain") == "plain"
    assert short_text("{broken") == "{broken"
    assert short_text("[1]") == "[1]"
    assert len(short_text("x" * 1000)) == 200


def test_routine_is_left_out_and_the_rest_is_bounded() -> None:
    routine = json.dumps({"level": "info", "event": "call"})
    warnings = [json.dumps({"level": "warning", "event": str(i)}) for i in range(20)]
    celery = "[2026-01-01 00:00:00,000: INFO/SpawnPoolWorker-1] child process 1 calling self.run()"
    text = last_words([routine, "", *warnings, routine, celery, "Segmentation fault"])
    assert len(text) == SHOWN_LINES
    assert text[-2:] == ["WARNING 19", "Segmentation fault"]
