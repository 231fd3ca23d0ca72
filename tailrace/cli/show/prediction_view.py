"""Predictions for people: the model's thinking and its answer."""

from __future__ import annotations

from tailrace.v1 import evaluation_pb2

UNFINISHED = "(the thinking never ends)"
"""Note on a prediction whose thinking has no closing tag."""


def is_unfinished(prediction: evaluation_pb2.Prediction) -> bool:
    """Return True if the prediction's thinking has no closing tag, so that it has no answer."""
    return prediction.HasField("thinking_closed") and not prediction.thinking_closed


def reasoning_text(prediction: evaluation_pb2.Prediction) -> str:
    """Return the thinking of a prediction; unfinished thinking is noted."""
    if is_unfinished(prediction):
        return f"{prediction.reasoning} {UNFINISHED}".lstrip()
    return prediction.reasoning


def answer_text(prediction: evaluation_pb2.Prediction) -> str:
    """Return the answer of a prediction; the whole text of one of an earlier release."""
    return prediction.answer if prediction.HasField("answer") else prediction.text
