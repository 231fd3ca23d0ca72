from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

from tailrace.formats.data.dataset_file import parse_dataset
from tailrace.formats.data.golden import fresh_sums, golden_v2, golden_v2_bytes, write_golden_v2

SHA256 = "00500e65a4920ebcde88c4b5618974868ae3d6c9d07167380c9dfd717066d968"


def test_follows_its_definition() -> None:
    generator = random.Random(42)
    traces = golden_v2()
    for trace in traces[:50]:
        a, b = generator.randint(1, 100), generator.randint(1, 100)
        assert trace.prompt == f"What is {a} + {b}?"
        assert [(s.type, s.content) for s in trace.steps] == [
            ("calculation", f"Calculating {a} + {b} = {a + b}")
        ]
        assert trace.answer == str(a + b)
    for trace in traces[50:]:
        word = generator.choice(["apple", "banana", "cherry", "date", "elderberry"])
        times = generator.randint(2, 5)
        assert trace.prompt == f"Repeat '{word}' {times} times"
        assert trace.answer == " ".join([word] * times)
    assert [trace.metadata["idx"] for trace in traces] == list(range(100))
    assert [trace.metadata["case"] for trace in traces] == ["math_gen"] * 50 + ["text_gen"] * 50
    assert traces[0].prompt == "What is 82 + 15?"
    assert len({trace.prompt for trace in traces}) == 67


def test_bytes_never_change() -> None:
    assert hashlib.sha256(golden_v2_bytes()).hexdigest() == SHA256
    assert parse_dataset(golden_v2_bytes().splitlines()) == golden_v2()


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    first = write_golden_v2(tmp_path)
    stamp = first.dataset.stat().st_mtime_ns
    second = write_golden_v2(tmp_path)
    assert (first.changed, second.changed) == (True, False)
    assert first.dataset.stat().st_mtime_ns == stamp
    manifest = json.loads(first.manifest.read_text())
    assert manifest["sha256"] == hashlib.sha256(first.dataset.read_bytes()).hexdigest() == SHA256
    assert (manifest["traces"], manifest["distinct_prompts"]) == (100, 67)


def test_a_damaged_file_is_mended(tmp_path: Path) -> None:
    dataset = write_golden_v2(tmp_path).dataset
    dataset.write_text("broken")
    assert write_golden_v2(tmp_path).changed
    assert dataset.read_bytes() == golden_v2_bytes()


def test_fresh_sums_are_in_order_distinct_and_not_in_the_dataset() -> None:
    items = fresh_sums()
    generator = random.Random(43)
    drawn = [(generator.randint(1, 100), generator.randint(1, 100)) for _ in range(200)]
    answers = {f"What is {a} + {b}?": str(a + b) for a, b in drawn}
    seen = {trace.prompt for trace in golden_v2()}
    fresh = [prompt for prompt in answers if prompt not in seen][:100]
    assert [(item.prompt, item.expected_answer) for item in items] == [
        (prompt, answers[prompt]) for prompt in fresh
    ]
    assert len({item.id for item in items}) == len(items) == 100
