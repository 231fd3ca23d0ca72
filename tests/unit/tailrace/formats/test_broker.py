"""Broker faults in words: what is wrong, where, and the way out."""

from __future__ import annotations

import pytest

from tailrace.formats.broker import (
    MAX_PROBLEM,
    broker_place,
    broker_problem,
)

URL = "amqp://user:hidden@host:5672/train"


@pytest.mark.parametrize(
    ("error", "part", "configuration"),
    [
        (OSError("403 ACCESS_REFUSED - Login was refused"), "refuses the login", True),
        (OSError("WRONGPASS invalid username-password pair"), "refuses the login", True),
        (OSError("NOAUTH Authentication required."), "refuses the login", True),
        (OSError("530 NOT_ALLOWED - vhost train not found"), "no virtual host 'train'", True),
        (OSError("403 ACCESS_REFUSED - configure access to"), "set_permissions", True),
        (OSError("[SSL: WRONG_VERSION_NUMBER] wrong version"), "speaks no TLS", True),
        (OSError("OOM command not allowed when used memory"), "maxmemory", False),
        (ConnectionRefusedError(111, "Connection refused"), "cannot be reached", False),
        (TimeoutError("timed out"), "does not answer as RabbitMQ does", False),
        (ValueError("x" * 5000), "x", False),
    ],
)
def test_a_fault_is_told_from_a_wrong_setting(
    error: Exception, part: str, configuration: bool
) -> None:
    problem = broker_problem(error, URL)
    assert part in problem.text
    assert problem.configuration is configuration
    assert len(problem.text) <= MAX_PROBLEM
    assert "hidden" not in problem.text


def test_the_cause_counts_when_a_library_wraps_it() -> None:
    wrapped = RuntimeError("it failed")
    wrapped.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert "cannot be reached" in broker_problem(wrapped, URL).text


def test_the_place_names_no_user() -> None:
    assert broker_place(URL) == "amqp://host:5672/train"
