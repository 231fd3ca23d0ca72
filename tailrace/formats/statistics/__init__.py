"""Uncertainty of scores: intervals, paired tests, pass@k, agreement. Standard library only."""

from __future__ import annotations

from tailrace.formats.statistics.agreement import agreement, cohen_kappa, majority, pass_at_k
from tailrace.formats.statistics.intervals import (
    Z_95,
    bootstrap_interval,
    wilson_interval,
    wilson_with_errors,
)
from tailrace.formats.statistics.paired import (
    PairedComparison,
    compare_paired,
    minimum_detectable_difference,
    paired_bootstrap,
    paired_mcnemar,
)

__all__ = [
    "Z_95",
    "wilson_interval",
    "wilson_with_errors",
    "bootstrap_interval",
    "PairedComparison",
    "compare_paired",
    "paired_mcnemar",
    "paired_bootstrap",
    "minimum_detectable_difference",
    "pass_at_k",
    "majority",
    "agreement",
    "cohen_kappa",
]
