from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.machine.distinct_families import DISTINCT

pytestmark = pytest.mark.timeout(400)
"""Eight devices on few cores take their time when the machine is busy."""


@pytest.fixture(scope="module")
def probed() -> dict[str, Any]:
    """Figures of ``families_probe.py``, by family."""
    probe = Path(__file__).parent / "families_probe.py"
    done = subprocess.run(
        [sys.executable, str(probe)],
        capture_output=True,
        text=True,
        timeout=380,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


@pytest.mark.parametrize("model_type", DISTINCT)
def test_eight_devices_compute_the_loss_and_gradients_of_one(
    probed: dict[str, Any], model_type: str
) -> None:
    figures = probed[model_type]
    one, eight = figures["losses"]
    assert eight == pytest.approx(one, rel=1e-6)
    assert figures["largest"] > 1e-3
    assert figures["difference"] <= 1e-5 * figures["largest"]
