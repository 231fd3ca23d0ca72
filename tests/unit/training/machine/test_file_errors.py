"""A full disk, as every place that writes large files meets it."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tailrace.formats.spec.run_spec import LoraSpec
from training.checkpoints.checkpoint import Checkpoint
from training.checkpoints.writer import CheckpointWriter
from training.loop.final_model import save_folder
from training.loop.lora import LoraAdapter
from training.machine.file_errors import as_os_errors
from training.models.adapter_folder import save_adapter
from training.models.family import Model, Params
from training.models.folder import save_model
from training.models.stored_weights import HeldWeights
from training.stage.__main__ import describe_failure

LARGE = {"a": np.zeros(100_000)}


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 4 kB: the message is that of a full disk with another number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def check(write: Callable[[], object]) -> None:
    with full_disk(), pytest.raises(OSError) as error:
        write()
    assert error.value.errno == errno.EFBIG
    event = describe_failure(error.value)
    assert (event.reason, event.retryable) == ("IO_ERROR", True)


def test_a_checkpoint_that_finds_a_full_disk_is_retried_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    def write() -> None:
        with CheckpointWriter(tmp_path, 2, lambda *_: None) as writer:
            writer.save(lambda: Checkpoint(1, LARGE, [1], {}, {}))

    check(write)
    assert list(tmp_path.iterdir()) == []


def test_weights_adapters_and_tokenizers_on_a_full_disk_are_errors_of_files(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any
) -> None:
    large = {name: np.asarray(value) for name, value in params.items()}
    check(lambda: save_model(tmp_path / "model", model, large, eos_token_id=0))
    trainable = LoraAdapter(model, LoraSpec(rank=16), np.dtype("float32"), 0)
    trained, _ = trainable.start(HeldWeights(params))
    check(lambda: save_adapter(tmp_path / "adapter", trainable, trained, None))
    small = {name: value[:0] for name, value in params.items()}
    check(lambda: save_folder(tmp_path / "tokenizer", model, small, tokenizer))


def test_other_errors_pass(tmp_path: Path) -> None:
    for error in (ValueError("no number"), OSError(errno.EIO, "os error 5"), KeyError("x")):
        with pytest.raises(type(error)) as raised, as_os_errors(tmp_path):
            raise error
        assert raised.value is error
    message = "Error while serializing: I/O error: No space left on device (os error 28)"
    full = pytest.raises(OSError, match="No space left on device: '/x'")
    with full as raised, as_os_errors(Path("/x")):
        raise Exception(message)
    assert raised.value.errno == errno.ENOSPC
