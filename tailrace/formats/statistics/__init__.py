"""How sure a score is: intervals, paired tests, pass@k, agreement. Standard library only."""

from __future__ import annotations

from tailrace.formats.statistics.agreement import agreement, cohen_kappa
from tailrace.formats.statistics.bootstrap import bootstrap_interval
from tailrace.formats.statistics.paired import (
    PairedComparison,
    compare_paired,
    paired_bootstrap,
    paired_mcnemar,
)
from tailrace.formats.statistics.power import minimum_detectable_difference
from tailrace.formats.statistics.samples import majority, pass_at_k
from tailrace.formats.statistics.wilson import Z_95, wilson_interval, wilson_with_errors

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
