from __future__ import annotations

import json
from pathlib import Path

from training.checkpoints.metrics import MetricsFile
from training.observer import MetricPoint


def point(step: int, **metrics: float) -> MetricPoint:
    return MetricPoint(
        metrics=metrics,
        step=step,
        epoch=step / 4,
        loss=1.5,
        learning_rate=0.1,
        timestamp=1.0,
        device="cpu",
        tokens_per_second=100.0,
        flops_utilization=None,
        step_seconds_p50=0.1,
        step_seconds_p90=0.2,
        step_seconds_p99=0.3,
        eta_seconds=60.0,
        host_memory_peak_bytes=1000,
        device_memory_peak_bytes=None,
    )


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_points_can_be_read_while_the_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "metrics.jsonl"
    metrics = MetricsFile(path)
    metrics.metric(point(1))
    assert json.loads(path.read_text()) == {
        "step": 1,
        "epoch": 0.25,
        "loss": 1.5,
        "learning_rate": 0.1,
        "tokens_per_second": 100.0,
        "timestamp": 1.0,
        "device": "cpu",
        "flops_utilization": None,
        "step_seconds_p50": 0.1,
        "step_seconds_p90": 0.2,
        "step_seconds_p99": 0.3,
        "eta_seconds": 60.0,
        "host_memory_peak_bytes": 1000,
        "device_memory_peak_bytes": None,
    }
    metrics.close()


def test_metrics_of_the_method_stand_next_to_the_loss(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.metric(point(1, margin=0.5))
    metrics.close()
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (line["loss"], line["margin"]) == (1.5, 0.5)


def test_resuming_drops_what_will_come_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    for step in (1, 2, 3, 4):
        metrics.metric(point(step))
    metrics.close()
    with path.open("a") as file:
        file.write('{"step": 5, "lo')
    again = MetricsFile(path, resumed_step=2)
    again.metric(point(3))
    again.close()
    assert steps(path) == [1, 2, 3]


def test_a_fresh_training_starts_a_fresh_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 9}\n')
    MetricsFile(path).close()
    assert path.read_text() == ""
