from __future__ import annotations

import json
from pathlib import Path

import jax

from training.provenance import write_provenance


def test_facts_and_environment(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    write_provenance(path, {"dataset": "ü"})
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["dataset"] == "ü"
    environment = content["environment"]
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["device"]
    assert environment["cores"] >= 1
