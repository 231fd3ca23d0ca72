"""Prints the table of the generation engine: ``python -m benchmarks.generation [CASE ...]``.

Needs PyTorch (``pip install -e ".[bench]"``). Exit status 1 when a bar is not held.
"""

from __future__ import annotations

import sys

from benchmarks.generation.cases import CASES
from benchmarks.table import run_cases

if __name__ == "__main__":
    sys.exit(run_cases("benchmarks.generation", __doc__, CASES))
