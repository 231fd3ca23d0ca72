"""A second control plane of a stack, with TLS and tokens, and a worker with a certificate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tailrace
from tailrace.access import Access
from tailrace.retry import RetryPolicy
from tailrace.tls_files import TlsFiles
from tests.integration.follow import until_terminal
from tests.integration.specs import state, train_only
from tests.servers.certificates import write_tls
from tests.servers.node import Process, free_port, wait_until
from tests.stack import Stack


class SecurePlane:
    """A replica of a stack's control plane that other machines could reach."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.folder = folder
        self._worker_broker_url = stack.worker_broker_url
        self.files = write_tls(folder / "server", "server")
        self.address, self.worker_address = (f"localhost:{free_port()}" for _ in range(2))
        self.env = stack.env | {
            "TAILRACE_LISTEN": self.address,
            "TAILRACE_REQUIRE_TOKENS": "true",
            "TAILRACE_TLS_CERT_FILE": str(self.files.certificate),
            "TAILRACE_TLS_KEY_FILE": str(self.files.key),
            "TAILRACE_WORKER_BIND": self.worker_address,
            "TAILRACE_WORKER_CA_FILE": str(self.files.ca),
        }
        self.processes = [self._process("services", {})]
        # It waits for the control plane, while the first token is made.
        self._start_worker("secure")
        bootstrap = ("tailrace.cli.main", "tokens", "create", "--bootstrap")
        self.token = subprocess.run(
            [sys.executable, "-m", *bootstrap],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()

    def _start_worker(self, pool: str) -> None:
        worker = write_tls(self.folder / "worker", "secure", ())
        settings = {
            "TAILRACE_SERVER": self.worker_address,
            "TAILRACE_BROKER_URL": self._worker_broker_url,
            "TAILRACE_CA_FILE": str(worker.ca),
            "TAILRACE_CERT_FILE": str(worker.certificate),
            "TAILRACE_KEY_FILE": str(worker.key),
            "TAILRACE_POOLS": pool,
            "TAILRACE_SLOTS": "1",
            "TAILRACE_WORKER_NAME": "secure",
            "TAILRACE_WORK_DIR": str(self.folder / "work"),
        }
        self.processes.append(self._process("workers", settings))

    def client(self) -> tailrace.Client:
        access = Access(tls=TlsFiles(self.files.ca), token=lambda: self.token)
        return tailrace.Client(self.address, access=access, retry=RetryPolicy(attempts=20))

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop(timeout=30)

    def _process(self, module: str, settings: dict[str, str]) -> Process:
        log = self.folder / f"{module}.log"
        return Process([sys.executable, "-m", module], log=log, env=self.env | settings)


@pytest.fixture
def plane(stack: Stack, tmp_path: Path) -> Iterator[SecurePlane]:
    plane = SecurePlane(stack, tmp_path)
    yield plane
    plane.stop()


@pytest.mark.parametrize("stack", ["production"], indirect=True)
def test_a_worker_with_a_certificate_runs_a_stage(stack: Stack, plane: SecurePlane) -> None:
    with plane.client() as client:
        wait_until(lambda: bool(list(client.list_workers(limit=1))), "the control plane")
        run = client.create_run(train_only(1, execution={"train": {"pool": "secure"}}))
        try:
            ended = until_terminal(client, run.name)
        except TimeoutError:
            raise AssertionError(plane.processes[-1].tail()) from None
        assert state(ended) == "succeeded", ended
        (attempt,) = ended.stages[0].attempts
        assert attempt.worker == "workers/secure"
        assert list(client.stream_logs(run.name))
    assert plane.token not in "".join(p.log.read_text() for p in plane.processes)
