"""Directives: the strongest wish wins, whoever says it and in whichever order."""

from __future__ import annotations

import threading
import time
from itertools import permutations

import pytest

from tailrace.v1 import stage_pb2
from workers.pool.directives import Directives, Wish


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
def test_the_strongest_wish_wins(order: tuple[stage_pb2.Directive.ValueType, ...]) -> None:
    directives = Directives()
    for directive in order:
        directives.direct(directive)
    assert directives.wish is Wish.LOST


def test_directives_map_onto_wishes() -> None:
    pairs = {
        stage_pb2.DIRECTIVE_UNSPECIFIED: Wish.CONTINUE,
        stage_pb2.DIRECTIVE_CONTINUE: Wish.CONTINUE,
        stage_pb2.DIRECTIVE_RELEASE: Wish.RELEASE,
        stage_pb2.DIRECTIVE_DRAIN: Wish.RELEASE,
        stage_pb2.DIRECTIVE_CANCEL: Wish.CANCEL,
        stage_pb2.DIRECTIVE_LEASE_LOST: Wish.LOST,
    }
    for directive, wish in pairs.items():
        directives = Directives()
        directives.direct(directive)
        assert directives.wish is wish
        assert directives.draining_seconds() is None


def test_a_drain_is_remembered_and_the_first_fault_kept() -> None:
    directives = Directives()
    directives.drain()
    assert directives.wish is Wish.RELEASE
    assert (directives.draining_seconds() or 0) >= 0
    directives.abort("disk full")
    directives.abort("later")
    assert (directives.wish, directives.fault) == (Wish.ABORT, "disk full")


def test_waiting_ends_with_a_stronger_wish_only() -> None:
    directives = Directives()
    directives.drain()
    assert not directives.wait(Wish.RELEASE, 0.05)
    threading.Timer(0.05, directives.lose).start()
    began = time.monotonic()
    assert directives.wait(Wish.RELEASE, 5)
    assert time.monotonic() - began < 2
