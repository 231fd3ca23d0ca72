from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import jax
import pytest

from training.checkpoints.provenance import FILE, model_template_date, write_provenance


def test_facts_and_environment(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    write_provenance(path, {"dataset": "ü"})
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["dataset"] == "ü"
    environment = content["environment"]
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["device"]
    assert environment["cores"] >= 1


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"result": {"template_date": "x"}}'])
def test_a_folder_that_tells_no_day(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    assert model_template_date(tmp_path / "final_model") is None


def test_the_day_of_a_training_is_found_from_its_model(tmp_path: Path) -> None:
    write_provenance(tmp_path / FILE, {"result": {"template_date": "2026-03-04"}})
    assert model_template_date(tmp_path / "final_model") == date(2026, 3, 4)
