"""The short version of the matrix: one run that everything happens to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.formats.faults import Moment
from tests.chaos.clusters import clusters
from tests.chaos.experiment import Experiments
from tests.chaos.matrix import Cell, Fault, Kind, Side, Target

HITS = [
    (Target.CONTROL, Fault.KILL, Moment.MARK_SENT, Side.BEFORE),
    (Target.WORKER, Fault.STOP, Moment.EVENTS, Side.BEFORE),
    (Target.CONTROL, Fault.CUT, Moment.UPLOAD, Side.BEFORE),
    (Target.CHILD, Fault.KILL, Moment.COMPLETE, Side.AFTER),
    (Target.VALKEY, Fault.KILL, Moment.CHAIN, Side.BEFORE),
]


@pytest.mark.timeout(600)
def test_a_run_that_everything_happens_to_is_the_undisturbed_run(tmp_path: Path) -> None:
    cells = [Cell(*hit, Kind.EMBEDDED) for hit in HITS]
    with clusters(Kind.EMBEDDED, tmp_path) as cluster:
        findings = Experiments(cluster).cells(*cells)
        assert findings.all() == [], cluster.logs()
