"""Parent and pool children: slots, leases, directives, drains, sudden deaths."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.v1 import stage_pb2
from tests.servers.node import wait_until
from workers.pool.child_socket import ChildSocket, ControlSocketError
from workers.pool.directives import Directive, Directives
from workers.pool.parent_socket import ParentSocket

VACATED: list[str] = []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ParentSocket]:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    new_socket = ParentSocket(folder, {"cpu-0": 7, "cpu-1": 7}, VACATED.append)
    VACATED.clear()
    yield new_socket
    new_socket.close()


def test_each_child_gets_a_slot_of_its_own(server: ParentSocket) -> None:
    one, two = ChildSocket(server.path), ChildSocket(server.path)
    assert {one.slot, two.slot} == {"cpu-0", "cpu-1"}
    third: list[str] = []
    thread = threading.Thread(target=lambda: third.append(ChildSocket(server.path).slot))
    thread.start()
    time.sleep(0.2)
    assert third == []
    freed = one.slot
    one.close()
    thread.join(5)
    assert third == [freed]
    assert [freed] == VACATED


def test_leases_live_as_long_as_their_block(server: ParentSocket) -> None:
    client = ChildSocket(server.path)
    with client.lease("secret", Directives()):
        wait_until(lambda: server.leases() == ["secret"], "the lease", 5)
    wait_until(lambda: server.leases() == [], "its end", 5)


def test_a_dead_child_holds_nothing(server: ParentSocket) -> None:
    code = (
        "import sys, time\n"
        "from workers.pool.child_socket import ChildSocket\n"
        "from workers.pool.directives import Directives\n"
        "from pathlib import Path\n"
        "client = ChildSocket(Path(sys.argv[1]))\n"
        "with client.lease('theirs', Directives()):\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(server.path)]) as child:
        wait_until(lambda: server.leases() == ["theirs"], "the lease", 10)
        child.kill()
        wait_until(lambda: server.leases() == [], "its end", 5)
    assert {ChildSocket(server.path).slot, ChildSocket(server.path).slot} == {
        "cpu-0",
        "cpu-1",
    }


def test_directives_reach_the_attempt_that_they_are_for(server: ParentSocket) -> None:
    client, other = ChildSocket(server.path), ChildSocket(server.path)
    mine, theirs = Directives(), Directives()
    with client.lease("mine", mine), other.lease("theirs", theirs):
        wait_until(lambda: len(server.leases()) == 2, "leases", 5)
        server.direct("mine", stage_pb2.DIRECTIVE_CANCEL)
        server.direct("nobody's", stage_pb2.DIRECTIVE_LEASE_LOST)
        assert mine.wait(Directive.CONTINUE, 5)
        assert (mine.strongest, theirs.strongest) == (Directive.CANCEL, Directive.CONTINUE)
    late = Directives()
    with client.lease("next", late):
        server.direct("mine", stage_pb2.DIRECTIVE_LEASE_LOST)
        time.sleep(0.2)
        assert late.strongest is Directive.CONTINUE


def test_a_drain_reaches_what_runs_and_what_comes(server: ParentSocket) -> None:
    client = ChildSocket(server.path)
    running = Directives()
    with client.lease("running", running):
        server.drain()
        assert running.wait(Directive.CONTINUE, 5)
        assert running.draining_seconds() is not None
    wait_until(lambda: client.draining, "the flag", 5)
    following = Directives()
    with client.lease("following", following):
        assert following.strongest is Directive.RELEASE
    late = ChildSocket(server.path)
    wait_until(lambda: late.draining, "the flag of a late child", 5)
    assert server.draining


def test_nothing_is_left_of_a_closed_one(server: ParentSocket) -> None:
    assert server.path.is_socket()
    server.close()
    assert not list(server.path.parent.iterdir())


def test_a_parent_that_is_gone_is_an_error(server: ParentSocket, tmp_path: Path) -> None:
    with pytest.raises(ControlSocketError, match="assigned no slot"):
        ChildSocket(tmp_path / "none")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    threading.Thread(target=lambda: listener.accept()[0].close()).start()
    with pytest.raises(ControlSocketError, match="closed the connection"):
        ChildSocket(tmp_path / "s")
    listener.close()


def test_a_quarantine_lasts_until_it_is_lifted_or_its_child_is_gone(server: ParentSocket) -> None:
    one, two = ChildSocket(server.path), ChildSocket(server.path)
    assert one.memory_mib == 7
    one.quarantine("a process is left")
    two.quarantine("memory is left")
    both = {one.slot: "a process is left", two.slot: "memory is left"}
    wait_until(lambda: server.quarantine() == both, "both", 20)
    one.quarantine("")
    wait_until(lambda: server.quarantine() == {two.slot: "memory is left"}, "the other", 20)
    two.close()
    wait_until(lambda: server.quarantine() == {}, "none", 20)
