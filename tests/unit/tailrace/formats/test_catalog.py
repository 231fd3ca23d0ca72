from __future__ import annotations

import hashlib
from pathlib import Path

from tailrace.formats import catalog

EVAL_SETS = Path(__file__).parents[4] / "training" / "evalsets"


def test_digests_are_those_of_the_shipped_files() -> None:
    digests = {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in EVAL_SETS.glob("*.jsonl")
    }
    assert digests == catalog.EVAL_SETS
