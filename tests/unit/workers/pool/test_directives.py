"""Directives: the strongest one wins, from any source and in any order."""

from __future__ import annotations

import threading
import time
from itertools import permutations

import pytest

from tailrace.v1 import stage_pb2
from workers.pool.directives import Directive, Directives


@pytest.mark.parametrize(
    "order",
    list(
        permutations(
            [
                stage_pb2.DIRECTIVE_CONTINUE,
                stage_pb2.DIRECTIVE_RELEASE,
                stage_pb2.DIRECTIVE_CANCEL,
                stage_pb2.DIRECTIVE_LEASE_LOST,
            ]
        )
    ),
)
def test_the_strongest_directive_wins(order: tuple[stage_pb2.Directive.ValueType, ...]) -> None:
    directives = Directives()
    for wire_value in order:
        directives.direct(wire_value)
    assert directives.strongest is Directive.LEASE_LOST


def test_directives_map_onto_those_of_the_wire() -> None:
    pairs = {
        stage_pb2.DIRECTIVE_UNSPECIFIED: Directive.CONTINUE,
        stage_pb2.DIRECTIVE_CONTINUE: Directive.CONTINUE,
        stage_pb2.DIRECTIVE_RELEASE: Directive.RELEASE,
        stage_pb2.DIRECTIVE_DRAIN: Directive.RELEASE,
        stage_pb2.DIRECTIVE_CANCEL: Directive.CANCEL,
        stage_pb2.DIRECTIVE_LEASE_LOST: Directive.LEASE_LOST,
    }
    for wire_value, directive in pairs.items():
        directives = Directives()
        directives.direct(wire_value)
        assert directives.strongest is directive
        assert directives.draining_seconds() is None


def test_a_drain_is_remembered_and_the_first_fault_kept() -> None:
    directives = Directives()
    directives.drain()
    assert directives.strongest is Directive.RELEASE
    assert (directives.draining_seconds() or 0) >= 0
    directives.abort("disk full")
    directives.abort("later")
    assert (directives.strongest, directives.fault) == (Directive.ABORT, "disk full")


def test_waiting_ends_with_a_stronger_wish_only() -> None:
    directives = Directives()
    directives.drain()
    assert not directives.wait(Directive.RELEASE, 0.05)
    threading.Timer(0.05, directives.lose).start()
    began = time.monotonic()
    assert directives.wait(Directive.RELEASE, 5)
    assert time.monotonic() - began < 2
