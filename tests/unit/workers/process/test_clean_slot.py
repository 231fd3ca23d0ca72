"""A slot takes its next stage only after all remains of the last one are gone."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.workers.test_accelerators import smi
from workers.process import clean_slot
from workers.process.clean_slot import TOLERANCE_MIB, CleanSlot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    slot_folder = tmp_path / "cpu-0"
    slot_folder.mkdir()
    return slot_folder


@contextlib.contextmanager
def sleeper(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that left its group but works in the slot's folder, for as long as the block."""
    work = folder / "attempt"
    work.mkdir()
    argv = [sys.executable, "-c", "input()"]
    process = subprocess.Popen(argv, cwd=work, stdin=subprocess.PIPE, start_new_session=True)
    work.rmdir()
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_a_process_that_is_left_is_waited_for(folder: Path) -> None:
    slot = CleanSlot(folder, (), 0)
    assert slot.problem() == ""
    reasons: list[str] = []
    questions: list[bool] = []
    with sleeper(folder) as process:
        assert str(process.pid) in slot.problem()

        def give_up() -> bool:
            questions.append(True)
            if len(questions) == 2:
                end(process)
            return False

        assert slot.wait(reasons.append, give_up)
    assert reasons == []


def test_a_slot_that_stays_unclean_is_in_quarantine_until_it_is_clean(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean_slot, "SETTLE_SECONDS", 0.0)
    slot = CleanSlot(folder, (), 0)
    reasons: list[str] = []
    with sleeper(folder) as process:
        monkeypatch.setattr(clean_slot, "HOLD_SECONDS", 0.0)
        assert not slot.wait(reasons.append, lambda: False)
        assert str(process.pid) in reasons[-1]
        monkeypatch.setattr(clean_slot, "HOLD_SECONDS", 60.0)
        assert not slot.wait(reasons.append, lambda: True)

        def let_it_end() -> bool:
            end(process)
            return False

        assert slot.wait(reasons.append, let_it_end)
        assert reasons[-1] == ""


def test_what_a_stage_left_is_looked_for_at_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = CleanSlot(folder, (), 0)
    with sleeper(folder):
        with slot.in_use():
            pass
        assert not slot.wait(lambda _: None, lambda: True)
    with slot.in_use():
        pass
    monkeypatch.setattr(slot, "problem", lambda: "looked at again")
    assert slot.wait(lambda _: None, lambda: True)


def test_a_stage_that_broke_off_is_not_taken_to_have_left_nothing(folder: Path) -> None:
    slot = CleanSlot(folder, (), 0)
    with slot.in_use():
        pass
    with contextlib.suppress(RuntimeError), slot.in_use():
        raise RuntimeError("on purpose")
    with sleeper(folder):
        assert not slot.wait(lambda _: None, lambda: True)


def test_memory_that_is_left_on_a_gpu_counts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, f"printf '1000\\n{500 + TOLERANCE_MIB}\\n'", monkeypatch)
    assert CleanSlot(folder, (0, 1), 1500).problem() == ""
    assert f"{TOLERANCE_MIB + 1} more" in CleanSlot(folder, (0, 1), 1499).problem()
    smi(tmp_path, "echo 'GPU is lost' >&2; exit 15", monkeypatch)
    assert "GPU is lost" in CleanSlot(folder, (0, 1), 1500).problem()
