from __future__ import annotations

from tailrace.cli.show.curves import STEPS, curve_rows, shared_names
from tailrace.v1.run_pb2 import MetricCurve, MetricPoint


def curve(run: str, name: str, values: dict[int, float]) -> MetricCurve:
    points = [MetricPoint(name=name, step=step, value=value) for step, value in values.items()]
    return MetricCurve(run=f"runs/{run}", name=name, points=points)


def test_metrics_of_one_run_alone_are_not_compared() -> None:
    curves = [curve("a", "loss", {1: 1}), curve("a", "eval_loss", {1: 1}), curve("b", "loss", {})]
    assert shared_names(curves) == ["loss"]


def test_runs_stand_beside_each_other_by_step() -> None:
    curves = [
        curve("a", "loss", {10: 4.0, 20: 1.0, 30: 2.0}),
        curve("a", "eval_loss", {10: 9.0}),
        curve("b", "loss", {10: 3.5, 30: 0.125}),
    ]
    assert curve_rows(curves, "loss", ["runs/a", "runs/b", "runs/c"]) == [
        ("10", "4.0000", "3.5000", "-"),
        ("20", "1.0000", "-", "-"),
        ("30", "2.0000", "0.1250", "-"),
        ("lowest", "1.0000 at 20", "0.1250 at 30", "-"),
    ]


def test_long_curves_become_few_rows_and_keep_their_lowest_value() -> None:
    values = {step: 0.5 if step == 777 else 5.0 - step / 1000 for step in range(1, 1001)}
    curves = [curve("a", "loss", values), curve("b", "loss", values)]
    *rows, lowest = curve_rows(curves, "loss", ["runs/a", "runs/b"])
    assert len(rows) == STEPS
    assert (rows[0][0], rows[-1][0]) == ("1", "1,000")
    assert lowest == ("lowest", "0.5000 at 777", "0.5000 at 777")
