from __future__ import annotations

import pytest

from tailrace import errors
from tailrace.cli import exit_codes
from tailrace.errors import TailraceError
from tailrace.v1 import run_pb2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgument, 2),
        (errors.ResourceExhausted, 2),
        (errors.NotFound, 3),
        (errors.AlreadyExists, 4),
        (errors.FailedPrecondition, 4),
        (errors.Unavailable, 5),
        (errors.DeadlineExceeded, 5),
        (errors.PermissionDenied, 6),
        (errors.Internal, 70),
        (errors.DataLoss, 70),
    ],
)
def test_of_error(error: type[TailraceError], code: int) -> None:
    assert exit_codes.of_error(error("x")) == code


def test_no_error_looks_like_success_or_a_failed_run() -> None:
    codes = {exit_codes.of_error(cls("x")) for cls in TailraceError.__subclasses__()}
    assert not codes & {exit_codes.OK, exit_codes.RUN_FAILED, exit_codes.RUN_CANCELLED}


def test_of_run() -> None:
    states = {
        run_pb2.RUN_STATE_SUCCEEDED: 0,
        run_pb2.RUN_STATE_FAILED: 1,
        run_pb2.RUN_STATE_CANCELLED: 7,
        # A stream that ended early must not look like success.
        run_pb2.RUN_STATE_RUNNING: 1,
    }
    for state, code in states.items():
        assert exit_codes.of_run(run_pb2.Run(state=state)) == code
