"""An imported model of an unusual family over a real worker: an adapter is trained, and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.family_runs.folders import SETTINGS, config, tokenizer
from benchmarks.family_runs.spec import lora_spec
from tailrace.formats.model.families import FAMILIES
from tests.integration.follow import until_terminal
from tests.integration.specs import stage_states
from tests.stack import Stack
from training.loop.final_model import save_folder
from training.models.registry import model_from_config


def test_every_family_has_a_small_model() -> None:
    assert set(FAMILIES) <= set(SETTINGS)


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
@pytest.mark.parametrize("family", ["phi3"])
def test_an_adapter_of_an_imported_model_is_judged(
    stack: Stack, family: str, tmp_path: Path
) -> None:
    vocabulary = tokenizer()
    model = model_from_config(config(family, vocabulary).to_dict())
    save_folder(tmp_path / "model", model, model.init(0), vocabulary)
    with stack.client() as client:
        source = client.import_model(tmp_path / "model", family.replace("_", "-"))
        run = client.create_run(lora_spec(source.name, steps=5, new_tokens=8))
        run = until_terminal(client, run.name)
    assert stage_states(run) == dict.fromkeys(("train", "infer", "judge"), "succeeded"), run
    train, _, judge = (stage.result for stage in run.stages)
    assert train.train.last_loss < train.train.first_loss
    assert [score.total for score in judge.judge.scores] == [13]
