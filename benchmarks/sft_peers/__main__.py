"""Prints the table of fine-tuning against TRL: ``python -m benchmarks.sft_peers [CASE ...]``.

Needs ``pip install -e ".[bench]"`` and ``make smollm2``. Exit status 1 when a bar is not held.
"""

from __future__ import annotations

import sys

from benchmarks.sft_peers.race import race
from benchmarks.table import run_cases

if __name__ == "__main__":
    sys.exit(run_cases("benchmarks.sft_peers", __doc__, {"smollm2": race}, ("trl", "peft")))
