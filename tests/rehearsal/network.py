"""Hosts as network namespaces on this machine, whose cables can be pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.servers.node import Process

PLANE = "10.77.0.1"
"""Address of the host with the control plane, the broker and the database."""

INSIDE = "TAILRACE_REHEARSAL_INSIDE"
"""Variable of the process that is in the namespace of that host."""


class NoNamespacesError(Exception):
    """Reason for which this machine lets the user make no network namespace."""


def enter() -> None:
    """Start this program again in a namespace of its own; return there.

    Raises:
        NoNamespacesError: This user may make none, or a tool is missing.
    """
    if os.environ.get(INSIDE):
        _run("ip", "link", "set", "lo", "up")
        return
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            raise NoNamespacesError(f"{tool} is missing: apt-get install util-linux iproute2")
    rights = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    command = ["unshare", *rights, "--net"]
    trial = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        raise NoNamespacesError(trial.stderr.strip())
    program = [sys.executable, "-m", "tests.rehearsal", *sys.argv[1:]]
    os.execvpe("unshare", [*command, *program], os.environ | {INSIDE: "1"})  # noqa: S606


class Host:
    """A host beside that of the control plane, on the same network.

    Args:
        number: Distinguishes the hosts; the last part of the address.
        holder: Process that keeps the namespace.
    """

    def __init__(self, number: int, holder: Process) -> None:
        self.address = f"10.77.0.{number}"
        self._cable = f"cable{number}"
        self._holder = holder
        far_end = f"host{number}"
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", far_end)
        _run("ip", "link", "set", far_end, "netns", str(holder.pid))
        _run("ip", "link", "set", self._cable, "master", "network", "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{self.address}/24", "dev", far_end),
            ("link", "set", far_end, "up"),
        ):
            _run(*self.command("ip", *command))

    def command(self, *argv: str) -> list[str]:
        """The command that runs another one on this host."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *argv]

    def disconnect(self) -> None:
        """Pull the cable."""
        _run("ip", "link", "set", self._cable, "down")

    def reconnect(self) -> None:
        """Plug it in again."""
        _run("ip", "link", "set", self._cable, "up")


def make_network() -> None:
    """Give the control plane's host its address on a new network."""
    _run("ip", "link", "add", "network", "type", "bridge")
    _run("ip", "addr", "add", f"{PLANE}/24", "dev", "network")
    _run("ip", "link", "set", "network", "up")


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNamespacesError(f"{' '.join(argv)}: {done.stderr.strip()}")
