"""The short version of the matrix: on each stack one run that everything happens to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.formats.faults import Moment
from tests.chaos.clusters import clusters
from tests.chaos.experiment import Experiments
from tests.chaos.matrix import Cell, Fault, Kind, Side, Target

AFTER, BEFORE = Side.AFTER, Side.BEFORE

HITS = {
    Kind.EMBEDDED: [
        (Target.CONTROL, Fault.KILL, Moment.MARK_SENT, BEFORE),
        (Target.WORKER, Fault.STOP, Moment.EVENTS, BEFORE),
        (Target.WORKER, Fault.KILL, Moment.CHECKPOINT, AFTER),
        (Target.CONTROL, Fault.CUT, Moment.UPLOAD, BEFORE),
        (Target.CHILD, Fault.KILL, Moment.COMPLETE, AFTER),
        (Target.VALKEY, Fault.KILL, Moment.CHAIN, BEFORE),
    ],
    Kind.PRODUCTION: [
        (Target.RABBITMQ, Fault.KILL, Moment.PUBLISH, AFTER),
        (Target.STAGE, Fault.KILL, Moment.HEARTBEAT, AFTER),
        (Target.WORKER, Fault.TERM, Moment.CHECKPOINT, BEFORE),
        (Target.CONTROL, Fault.KILL, Moment.COMPLETE, BEFORE),
        (Target.POSTGRES, Fault.KILL, Moment.LOG_END, AFTER),
    ],
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", list(Kind))
def test_a_run_that_everything_happens_to_is_the_undisturbed_run(
    kind: Kind, tmp_path: Path
) -> None:
    cells = [Cell(*hit, kind) for hit in HITS[kind]]
    with clusters(kind, tmp_path) as cluster:
        findings = Experiments(cluster).cells(*cells)
        assert findings.all() == [], cluster.logs()
