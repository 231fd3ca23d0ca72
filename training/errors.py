"""The errors of the training library; each knows what to do about it.

``reason`` is stable and made for programs: a stage process reports it as the stage's error.
"""

from __future__ import annotations

from typing import ClassVar


class TrainingError(Exception):
    """Something the user or operator can mend; the message says what, where and how."""

    reason: ClassVar[str] = "TRAINING_FAILED"
    """Stable name of the error, UPPER_SNAKE_CASE."""

    retryable: ClassVar[bool] = False
    """Whether the same attempt could succeed if it were repeated."""


class ConfigError(TrainingError):
    """Settings that do not fit each other, the data or the model."""

    reason = "INVALID_CONFIG"


class DataError(TrainingError):
    """A dataset, eval set or split that cannot be used."""

    reason = "INVALID_DATA"


class OverlongError(DataError):
    """Examples are longer than ``max_seq_length`` and the policy refuses them."""

    reason = "OVERLONG_EXAMPLES"


class ModelConfigError(TrainingError):
    """A model folder whose architecture, configuration or weights are not supported."""

    reason = "UNSUPPORTED_MODEL"


class ModelNotFoundError(TrainingError):
    """A model that is not on this machine and cannot be fetched."""

    reason = "MODEL_NOT_FOUND"


class ModelUnreachableError(ModelNotFoundError):
    """The model hub did not answer and the model is not cached."""

    reason = "MODEL_HUB_UNREACHABLE"
    retryable = True


class CheckpointError(TrainingError):
    """A checkpoint that is missing, damaged, or belongs to another training."""

    reason = "INVALID_CHECKPOINT"


class DivergedError(TrainingError):
    """The loss is not a finite number any more."""

    reason = "DIVERGED"


class NotFiniteError(TrainingError):
    """A model that computes values which are not finite numbers, before it is trained at all."""

    reason = "NOT_FINITE"


class DoesNotFitError(TrainingError):
    """The training needs more memory than there is."""

    reason = "DOES_NOT_FIT"


class DeviceError(TrainingError):
    """The asked-for accelerator is not there."""

    reason = "DEVICE_UNAVAILABLE"


class OutputError(TrainingError):
    """An output folder that cannot be written or holds something else."""

    reason = "INVALID_OUTPUT"


class NoAnswersError(TrainingError):
    """Every prediction of an evaluation is an error."""

    reason = "ALL_PREDICTIONS_FAILED"


class TooManyJudgeErrorsError(TrainingError):
    """So many verdicts are errors that the others say little."""

    reason = "TOO_MANY_JUDGE_ERRORS"


class StoppedError(Exception):
    """Work ended at a step boundary because it was asked to."""

    def __init__(self, *, released: bool) -> None:
        self.released = released
        """True when it may be continued from its checkpoint, false when it was cancelled."""
        super().__init__("released" if released else "cancelled")
