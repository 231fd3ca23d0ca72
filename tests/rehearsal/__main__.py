"""``python -m tests.rehearsal``: run the rehearsal and print its figures; exit 1 if one fails."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import yaml

import tailrace
from tailrace.access import Access
from tailrace.channel import connect
from tailrace.errors import from_rpc
from tailrace.formats.dispatch import PROTOCOL_VERSION
from tailrace.tls_files import TlsFiles
from tailrace.v1 import stage_pb2, stage_pb2_grpc, worker_pb2
from tests.integration.follow import until, until_terminal
from tests.integration.specs import small, state
from tests.rehearsal.network import NoNamespacesError, enter
from tests.rehearsal.site import CLIENTS, LEASE_SECONDS, POOL, WORKERS, Site
from tests.servers.node import wait_until

DEMO = Path(__file__).parents[2] / "docs/examples/golden_v2_nano.yaml"
SKIPPED = 77
"""Exit status of a rehearsal that this machine does not allow."""


def main() -> int:
    """Rehearse; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.rehearsal", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a run of 20 steps as the demo")
    arguments = parser.parse_args()
    try:
        enter()
    except NoNamespacesError as error:
        print(f"skipped: no network namespace ({error})")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Site(folder) as site:
            try:
                for scene in (demo, partition, foreign_project, stolen_token):
                    scene(site, arguments.short)
            except BaseException:
                for log in sorted(folder.glob("*.log")):
                    lines = log.read_text(errors="replace").splitlines()[-30:]
                    print(f"== {log.name}", *lines, sep="\n", file=sys.stderr)
                raise
    return 0


def say(text: str) -> None:
    """Print a figure of the rehearsal."""
    print(text, flush=True)


def demo(site: Site, short: bool) -> None:
    """Run the demo: control plane, broker, database and two workers speak TLS alone."""
    names = [site.start_worker(number) for number in (1, 2)]
    with site.client() as client:
        wait_until(lambda: _online(client) == set(names), "the workers", 120)
        client.seed_dataset("golden-v2")
        began = time.monotonic()
        run = client.create_run(small() if short else yaml.safe_load(DEMO.read_text()))
        ended = until_terminal(client, run.name, 1200)
        _require(state(ended) == "succeeded", f"the demo run {state(ended)}")
        lines = sum(len(batch.lines) for batch in client.stream_logs(run.name))
    say(f"demo run: SUCCEEDED after {time.monotonic() - began:.0f} s, {lines} log lines")


def partition(site: Site, _short: bool) -> None:
    """Take the network from the worker that runs a stage, for longer than a lease."""
    with site.client() as client:
        run = client.create_run(small(60, judges=None, infer=None))
        running = until(client, run.name, lambda r: r.stages[0].progress.done > 0, 300)
        lost = running.stages[0].attempts[-1].worker.removeprefix("workers/")
        site.hosts[lost].disconnect()
        began = time.monotonic()
        until(client, run.name, lambda r: len(r.stages[0].attempts) > 1, 120)
        taken_over = time.monotonic() - began
        ended = until_terminal(client, run.name, 600)
        _require(state(ended) == "succeeded", f"the run of the lost worker {state(ended)}")
        attempts = ended.stages[0].attempts
        _require(attempts[-1].worker != f"workers/{lost}", "the lost worker finished the run")
        time.sleep(max(0.0, 3 * LEASE_SECONDS - (time.monotonic() - began)))
        site.hosts[lost].reconnect()
        back = time.monotonic()
        wait_until(lambda: len(_online(client)) == 2, "the lost worker", 120)
        returned = time.monotonic() - back
        again = client.get_run(run.name)
        _require(again.stages[0].attempts == attempts, "the returned worker changed a run's end")
    say(
        f"partition: lease {LEASE_SECONDS:.0f} s, another worker has the stage after "
        f"{taken_over:.1f} s, attempt {len(attempts)} SUCCEEDED; the worker is back "
        f"{returned:.1f} s after its network"
    )


def foreign_project(site: Site, _short: bool) -> None:
    """Look at the runs of one project as the owner of another: they seem not to exist."""
    with site.client() as admin:
        admin.create_project("other")
        secret = admin.create_token(role="owner", project="other").secret
        run = next(iter(admin.list_runs())).name
    access = Access(tls=site.admin.tls, token=lambda: secret)
    calls: dict[str, Callable[[tailrace.Client, str], object]] = {
        "get": lambda client, name: client.get_run(name),
        "cancel": lambda client, name: client.cancel_run(name),
        "logs": lambda client, name: list(client.stream_logs(name)),
        "predictions": lambda client, name: list(client.list_predictions(name)),
    }
    with site.client(access) as owner:
        _require(not list(owner.list_runs()), "a foreign project lists a run")
        answers = {
            what: [
                _sdk_refusal(lambda: call(owner, name))  # noqa: B023
                for name in (run, "runs/never-used")
            ]
            for what, call in calls.items()
        }
    for what, (foreign, absent) in answers.items():
        _require(foreign == absent == "RUN_NOT_FOUND", f"{what}: {foreign}, absent {absent}")
    say(f"foreign project: no run listed; {', '.join(answers)}: RUN_NOT_FOUND, as of absent names")


def stolen_token(site: Site, _short: bool) -> None:
    """Use a worker's stolen token and certificate, then revoke both."""
    name, other = "worker-1", "worker-2"
    secret = (site.folder / f"{name}.token").read_text()
    tls = site.folder / "tls"
    pair = TlsFiles(tls / "ca.crt", tls / f"{name}.crt", tls / f"{name}.key")
    trusting = Access(tls=TlsFiles(tls / "ca.crt"), token=lambda: secret)
    stolen = Access(tls=pair, token=lambda: secret)
    with site.client() as admin:
        run = next(iter(admin.list_runs()))
    refusals = {
        "clients' port": _refusal(CLIENTS, trusting, lambda stub: stub.RegisterWorker(_me(name))),
        "workers' port without the certificate": _refusal(
            WORKERS, trusting, lambda stub: stub.RegisterWorker(_me(name), timeout=5)
        ),
        "another name": _refusal(WORKERS, stolen, lambda stub: stub.RegisterWorker(_me(other))),
        "another pool": _refusal(
            WORKERS, stolen, lambda stub: stub.RegisterWorker(_me(name, "gpu"))
        ),
        "its name while it lives": _refusal(
            WORKERS, stolen, lambda stub: stub.RegisterWorker(_me(name))
        ),
        "another's heartbeat": _refusal(
            WORKERS,
            stolen,
            lambda stub: stub.WorkerHeartbeat(
                stage_pb2.WorkerHeartbeatRequest(worker=f"workers/{other}")
            ),
        ),
        "a lease that it does not hold": _refusal(
            WORKERS,
            stolen,
            lambda stub: stub.FailStage(stage_pb2.FailStageRequest(lease_token="x")),
        ),
    }
    with tailrace.Client(WORKERS, access=stolen) as thief:
        for what, call in {
            "list runs": lambda: list(thief.list_runs()),
            "read a run": lambda: thief.get_run(run.name),
            "read predictions": lambda: list(thief.list_predictions(run.name)),
            "create a run": lambda: thief.create_run(small()),
            "make a token": lambda: thief.create_token(["read"]),
        }.items():
            refusals[what] = _sdk_refusal(call)
    say("stolen token and certificate: " + ", ".join(f"{k}: {v}" for k, v in refusals.items()))
    wanted = {
        "clients' port": "WORKER_CERTIFICATE",
        "workers' port without the certificate": "UNAVAILABLE",
        "another name": "WORKER_BINDING",
        "another pool": "WORKER_BINDING",
        "its name while it lives": "WORKER_NAME_TAKEN",
        "another's heartbeat": "WORKER_BINDING",
        "a lease that it does not hold": "LEASE_LOST",
        "list runs": "SCOPE_MISSING",
        "read a run": "SCOPE_MISSING",
        "read predictions": "LEASE_LOST",
        "create a run": "SCOPE_MISSING",
        "make a token": "SCOPE_MISSING",
    }
    _require(refusals == wanted, f"refusals {refusals}, not {wanted}")
    with site.client() as admin:
        admin.revoke_worker_certificate(name)
        began = time.monotonic()

    def is_revoked() -> bool:
        answer = _refusal(WORKERS, stolen, lambda stub: stub.RegisterWorker(_me(name)))
        return answer == "CERTIFICATE_REVOKED"

    wait_until(is_revoked, "the revocation", 10)
    say(f"the certificate is refused {time.monotonic() - began:.1f} s after its revocation")
    wait_until(lambda: site.workers[name].popen.poll() is not None, "the worker's end", 120)
    say(f"its worker ended with status {site.workers[name].popen.returncode}")


def _online(client: tailrace.Client) -> set[str]:
    alive = worker_pb2.WORKER_STATE_ONLINE
    return {w.name.removeprefix("workers/") for w in client.list_workers() if w.state == alive}


def _me(name: str, pool: str = POOL) -> stage_pb2.RegisterWorkerRequest:
    slot = worker_pb2.Slot(id="cpu-0", accelerator=worker_pb2.ACCELERATOR_TYPE_CPU, cores=[0])
    return stage_pb2.RegisterWorkerRequest(
        worker_id=name,
        hostname="elsewhere",
        pools=[pool],
        slots=[slot],
        protocol_version=PROTOCOL_VERSION,
        instance_id="the-instance-of-a-thief",
    )


def _refusal(
    address: str, access: Access, call: Callable[[stage_pb2_grpc.StageServiceStub], object]
) -> str:
    """Return the reason of a refused call of StageService; its code if it has none."""
    with connect(address, access) as channel:
        try:
            call(stage_pb2_grpc.StageServiceStub(channel))
        except grpc.RpcError as error:
            refused = from_rpc(error, address)
            return refused.reason or refused.code.name
    return "accepted"


def _sdk_refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except tailrace.TailraceError as error:
        return error.reason or error.code.name
    return "accepted"


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


if __name__ == "__main__":
    sys.exit(main())
