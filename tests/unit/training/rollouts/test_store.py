from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tailrace.formats.data.prediction import FinishReason
from tailrace.formats.data.rollout import Rollout, rollouts_file
from training.errors import CheckpointError
from training.observer import Observer
from training.rollouts.store import RolloutStore

ANSWERS = [
    Rollout(3, prompt, str(prompt), sample, "p", "t", FinishReason.EOS)
    for prompt in (4, 7)
    for sample in range(2)
]


def test_committed_answers_are_read_again(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path, Observer())
    assert store.read(3, {4: 2, 7: 2}) is None
    store.commit(3, ANSWERS)
    assert store.read(3, {4: 2, 7: 2}) == ANSWERS


@pytest.mark.parametrize(
    "rollouts",
    [
        [],
        ANSWERS[:3],
        [*ANSWERS, ANSWERS[0]],
        [dataclasses.replace(rollout, prompt_index=9) for rollout in ANSWERS],
        [dataclasses.replace(rollout, step=4) for rollout in ANSWERS],
    ],
)
def test_answers_of_another_training_are_refused(rollouts: list[Rollout], tmp_path: Path) -> None:
    store = RolloutStore(tmp_path, Observer())
    store.commit(3, rollouts)
    with pytest.raises(CheckpointError, match="does not hold the answers of step 3"):
        store.read(3, {4: 2, 7: 2})


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path, Observer())
    store.commit(3, ANSWERS)
    path = tmp_path / rollouts_file(3)
    content = path.read_bytes()
    for size in (0, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match="so that its answers are sampled again"):
            store.read(3)
