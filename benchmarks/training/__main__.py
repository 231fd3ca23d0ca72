"""Prints the table of the training library: ``python -m benchmarks.training [CASE ...]``.

Needs PyTorch (``pip install -e ".[bench]"``) for the cases that race it. Exit status 1 when a bar
is not held.
"""

from __future__ import annotations

import sys

from benchmarks.table import run_cases
from benchmarks.training.cases import CASES

if __name__ == "__main__":
    sys.exit(run_cases("benchmarks.training", __doc__, CASES))
