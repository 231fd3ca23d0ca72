"""The errors of the training library; their messages name the way out.

``reason`` is stable and meant for programs: a stage process reports it as the stage's error.
"""

from __future__ import annotations

from typing import ClassVar


class TrainingError(Exception):
    """An error that the user or the operator can fix; the message says what, where and how."""

    reason: ClassVar[str] = "TRAINING_FAILED"
    """Stable name of the error, UPPER_SNAKE_CASE."""

    retryable: ClassVar[bool] = False
    """True if a repetition of the attempt could succeed."""


class ConfigError(TrainingError):
    """Settings that do not fit each other, the data or the model."""

    reason = "INVALID_CONFIG"


class DataError(TrainingError):
    """A dataset, eval set or split that cannot be used."""

    reason = "INVALID_DATA"


class OverlongError(DataError):
    """Examples that are longer than ``max_seq_length`` where the policy refuses them."""

    reason = "OVERLONG_EXAMPLES"


class ModelConfigError(TrainingError):
    """A model folder whose architecture, configuration or weights are not supported."""

    reason = "UNSUPPORTED_MODEL"


class ModelNotFoundError(TrainingError):
    """A model that is not on this machine and cannot be fetched."""

    reason = "MODEL_NOT_FOUND"


class ModelUnreachableError(ModelNotFoundError):
    """A model that is not cached, while the model hub does not answer."""

    reason = "MODEL_HUB_UNREACHABLE"
    retryable = True


class CheckpointError(TrainingError):
    """A checkpoint that is missing, damaged, or belongs to another training."""

    reason = "INVALID_CHECKPOINT"


class DivergedError(TrainingError):
    """A loss, gradient or weight that is no longer finite."""

    reason = "DIVERGED"


class NotFiniteError(TrainingError):
    """A model that computes values that are not finite before any update."""

    reason = "NOT_FINITE"


class DoesNotFitError(TrainingError):
    """A training that needs more memory than is free."""

    reason = "DOES_NOT_FIT"


class DeviceError(TrainingError):
    """A device that JAX cannot use."""

    reason = "DEVICE_UNAVAILABLE"


class OutputError(TrainingError):
    """An output folder that has other files."""

    reason = "INVALID_OUTPUT"


class NoAnswersError(TrainingError):
    """An evaluation in which every prediction is an error."""

    reason = "ALL_PREDICTIONS_FAILED"


class TooManyJudgeErrorsError(TrainingError):
    """A judging with more errors among its verdicts than the judge allows."""

    reason = "TOO_MANY_JUDGE_ERRORS"


class PreflightError(TrainingError):
    """A reward that teaches the starting model nothing, or that worthless answers earn."""

    reason = "PREFLIGHT_FAILED"


class StoppedError(Exception):
    """End of the work at a boundary, on request."""

    def __init__(self, *, released: bool) -> None:
        self.released = released
        """True if the work can continue from its checkpoint, false if it was cancelled."""
        super().__init__("released" if released else "cancelled")
