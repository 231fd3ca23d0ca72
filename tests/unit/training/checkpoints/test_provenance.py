from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import jax
import pytest

from training.checkpoints.provenance import FILE, ChatFacts, model_chat_facts, write_provenance


def test_facts_and_environment(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    write_provenance(path, {"dataset": "ü"})
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["dataset"] == "ü"
    environment = content["environment"]
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["device"]
    assert environment["cores"] >= 1


@pytest.mark.parametrize(
    "content",
    [
        *(None, "{", "[]", "{}", '{"result": {"template_date": "x"}}'),
        '{"model": {"chat_template_kwargs": 1}, "train": {"sft": {"allow_special_tokens": 1}}}',
    ],
)
def test_a_folder_without_facts_has_the_defaults(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    assert model_chat_facts(tmp_path / "final_model") == ChatFacts()


def test_the_settings_of_a_training_are_found_from_its_model(tmp_path: Path) -> None:
    facts = {
        "result": {"template_date": "2026-03-04"},
        "model": {"chat_template_kwargs": {"enable_thinking": False}},
        "train": {"sft": {"allow_special_tokens": True}},
    }
    write_provenance(tmp_path / FILE, facts)
    expected = ChatFacts(date(2026, 3, 4), {"enable_thinking": False}, allow_special_tokens=True)
    assert model_chat_facts(tmp_path / "final_model") == expected
