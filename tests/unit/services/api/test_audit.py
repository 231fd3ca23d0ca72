"""Every change that a client makes has an event in the audit log, in the same transaction."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import tailrace
from services.domain.access.audit import AUDITED
from services.domain.errors import InvalidInput
from services.domain.run import RunState
from services.storage.rows.access import audit
from services.usecases.content import datasets
from services.usecases.context import Context
from services.usecases.stages.complete import complete_stage
from tailrace import errors, transfer
from tailrace.access import Access
from tailrace.formats.service_url import sqlite_path
from tailrace.formats.spec.run_spec import StageKind
from tailrace.retry import RetryPolicy
from tests.model_folder import files, write
from tests.servers.control_plane import ServedControlPlane
from tests.unit.services.driver import CALLER, Driver, spec
from tests.unit.services.usecases.stored_content import trace_line

EVAL_ITEM = b'{"id": "a", "prompt": "2 + 2?", "expected_answer": "4"}\n'

WRITTEN = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
"""sha256 of ``content``."""

TOUCHED = ("audit_events", "audit_chain", "outbox", "workers", "sqlite_sequence")
"""Tables that the loops change meanwhile, and those of the log itself."""


class Plane:
    """A served control plane with a run that has a model, and a client of it."""

    def __init__(self, served: ServedControlPlane, client: tailrace.Client, folder: Path) -> None:
        self.served = served
        self.client = client
        self.folder = folder

    @property
    def context(self) -> Context:
        return self.served.control_plane.context

    def rows(self) -> dict[str, Any]:
        """Everything in the database but what changes by itself, and the blob of ``_write``."""
        with closing(sqlite3.connect(sqlite_path(self.context.settings.database_url))) as database:
            tables = {
                name: database.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
                for (name,) in database.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                )
                if name not in TOUCHED
            }
        # Without the last use, which a loop records.
        tables["tokens"] = [row[:7] + row[8:] for row in tables["tokens"]]
        # Imports leave blobs that nothing refers to.
        return tables | {"blobs": list((self.folder / "blobs").rglob(WRITTEN))}

    def events(self, method: str) -> list[dict[str, Any]]:
        """The events of a method, without their hashes, which come later."""

        async def read() -> Any:
            async with self.context.database.read() as conn:
                conditions = [("method", "=", method)]
                return await audit.page(conn, conditions, project=None, before=None, limit=100)

        return [dataclasses.asdict(stored.event) for stored in self.served.call(read())]


async def _finish(context: Context, run_id: str) -> None:
    """Run through all stages; the final model has the files of :mod:`tests.model_folder`."""
    driver = Driver(context)
    await driver.register()
    gate = {"name": "loss", "metric": "last_loss", "maximum": 1.0}
    await driver.create(run_id, gates=[gate])
    while (await driver.get(run_id)).run.state is not RunState.SUCCEEDED:
        order = await driver.start(run_id)
        report = await driver.completion(order)
        if order.stage.kind is StageKind.TRAIN:
            model, *others = report.artifacts
            entries = [await driver.upload(path, data) for path, data in files().items()]
            artifacts = [dataclasses.replace(model, files=entries), *others]
            report = dataclasses.replace(report, artifacts=artifacts)
        await complete_stage(context, report)


async def _leave(context: Context, worker_id: str) -> None:
    driver = Driver(context, worker_id, hostname=worker_id)
    await driver.register()
    await driver.beat(ended=True)


@pytest.fixture(scope="module")
def plane(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("audited")
    served = ServedControlPlane.on_copy(sqlite_template, folder)
    served.call(datasets.seed(served.control_plane.context, CALLER, "golden-v2"))
    served.call(_finish(served.control_plane.context, "done"))
    with tailrace.Client(served.address, retry=RetryPolicy(attempts=1)) as client:
        yield Plane(served, client, folder)
    served.stop()


Change = tuple[str, Callable[[], object]]
"""Resource that changes, and the call that changes it."""


def _create_run(plane: Plane) -> Change:
    return "runs/new", lambda: plane.client.create_run(spec(), run_id="new")


def _cancel_run(plane: Plane) -> Change:
    plane.client.create_run(spec(cache=False), run_id="cancelled")
    return "runs/cancelled", lambda: plane.client.cancel_run("cancelled")


def _retry_run(plane: Plane) -> Change:
    plane.client.create_run(spec(cache=False), run_id="retried")
    plane.client.cancel_run("retried")
    return "runs/retried", lambda: plane.client.retry_run("retried")


def _write(plane: Plane) -> Change:
    file = plane.folder / "content"
    file.write_bytes(b"content")
    return f"blobs/{WRITTEN}", lambda: transfer.upload_file(plane.client.channel, file)


def _set_baseline(plane: Plane) -> Change:
    return "baselines/set", lambda: plane.client.set_baseline("set", "done")


def _delete_baseline(plane: Plane) -> Change:
    plane.client.set_baseline("deleted", "done")
    return "baselines/deleted", lambda: plane.client.delete_baseline("deleted")


def _seed_dataset(plane: Plane) -> Change:
    # golden-v2 is there already: another newest version makes seeding a change.
    plane.client.import_dataset("golden-v2", trace_line())
    return "datasets/golden-v2@3", lambda: plane.client.seed_dataset("golden-v2")


def _import_dataset(plane: Plane) -> Change:
    return "datasets/sums@1", lambda: plane.client.import_dataset("sums", trace_line())


def _import_eval_set(plane: Plane) -> Change:
    return "evalsets/sums@1", lambda: plane.client.import_eval_set("sums", EVAL_ITEM)


def _import_model(plane: Plane) -> Change:
    uploaded = transfer.upload_folder(plane.client.channel, write(plane.folder / "model"))
    return "models/tiny@1", lambda: plane.client.register_model("tiny", uploaded)


def _promote_model(plane: Plane) -> Change:
    return "models/new@1", lambda: plane.client.promote_model("done", "new")


def _set_model_alias(plane: Plane) -> Change:
    plane.client.promote_model("done", "named")
    return "models/named@prod", lambda: plane.client.set_model_alias("named", "prod", 1)


def _delete_model(plane: Plane) -> Change:
    plane.client.promote_model("done", "deleted")
    return "models/deleted", lambda: plane.client.delete_model("deleted")


def _drain_worker(plane: Plane) -> Change:
    plane.served.call(Driver(plane.context, "drained", hostname="drained").register())
    return "workers/drained", lambda: plane.client.drain_worker("drained")


def _undrain_worker(plane: Plane) -> Change:
    plane.served.call(Driver(plane.context, "undrained", hostname="undrained").register())
    plane.client.drain_worker("undrained")
    return "workers/undrained", lambda: plane.client.undrain_worker("undrained")


def _forget_worker(plane: Plane) -> Change:
    plane.served.call(_leave(plane.context, "left"))
    return "workers/left", lambda: plane.client.forget_worker("left")


def _revoke_worker_certificate(plane: Plane) -> Change:
    return "workers/stolen", lambda: plane.client.revoke_worker_certificate("stolen")


def _create_token(plane: Plane) -> Change:
    return "tokens/", lambda: plane.client.create_token(["read"], description="of a test")


def _revoke_token(plane: Plane) -> Change:
    token = plane.client.create_token(["read"]).token
    return token.name, lambda: plane.client.revoke_token(token.name)


def _as_token(plane: Plane, secret: str) -> tailrace.Client:
    access = Access(token=lambda: secret)
    return tailrace.Client(plane.served.address, access=access, retry=RetryPolicy(attempts=1))


def _create_session(plane: Plane) -> Change:
    secret = plane.client.create_token(["read"]).secret

    def change() -> None:
        with _as_token(plane, secret) as client:
            client.create_session()

    return "sessions/", change


def _end_session(plane: Plane) -> Change:
    secret = plane.client.create_token(["read"]).secret
    with _as_token(plane, secret) as client:
        name = client.create_session().session.name
    return name, lambda: plane.client.end_session(name)


def _set_quotas(plane: Plane) -> Change:
    changes = {"open_streams": 7}
    return "projects/default/quotas", lambda: plane.client.set_quotas(changes)


def _create_project(plane: Plane) -> Change:
    return "projects/new", lambda: plane.client.create_project("new")


def _delete_project(plane: Plane) -> Change:
    plane.client.create_project("deleted")
    return "projects/deleted", lambda: plane.client.delete_project("deleted")


CHANGES: dict[str, Callable[[Plane], Change]] = {
    "RunService/CreateRun": _create_run,
    "RunService/CancelRun": _cancel_run,
    "RunService/RetryRun": _retry_run,
    "ArtifactService/Write": _write,
    "BaselineService/SetBaseline": _set_baseline,
    "BaselineService/DeleteBaseline": _delete_baseline,
    "DatasetService/SeedDataset": _seed_dataset,
    "DatasetService/ImportDataset": _import_dataset,
    "EvalSetService/ImportEvalSet": _import_eval_set,
    "ModelService/ImportModel": _import_model,
    "ModelService/PromoteModel": _promote_model,
    "ModelService/SetModelAlias": _set_model_alias,
    "ModelService/DeleteModel": _delete_model,
    "FleetService/DrainWorker": _drain_worker,
    "FleetService/UndrainWorker": _undrain_worker,
    "FleetService/ForgetWorker": _forget_worker,
    "FleetService/RevokeWorkerCertificate": _revoke_worker_certificate,
    "ProjectService/CreateProject": _create_project,
    "ProjectService/DeleteProject": _delete_project,
    "TokenService/CreateToken": _create_token,
    "TokenService/RevokeToken": _revoke_token,
    "QuotaService/SetQuotas": _set_quotas,
    "SessionService/CreateSession": _create_session,
    "SessionService/EndSession": _end_session,
}
"""A change of each method that changes something."""


@pytest.mark.parametrize("method", sorted(AUDITED))
def test_a_change_and_its_event_are_stored_together(
    method: str, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert method in CHANGES, f"add a change by {method} to CHANGES"
    resource, change = CHANGES[method](plane)
    earlier, rows = plane.events(method), plane.rows()

    async def fail(_conn: Any, _events: Any) -> None:
        # An error that no client repeats.
        raise InvalidInput.field("event", "cannot be stored")

    monkeypatch.setattr(audit, "add_all", fail)
    with pytest.raises(errors.InvalidArgument):
        change()
    monkeypatch.undo()
    assert plane.rows() == rows, "without its event, the change must not be stored"
    assert plane.events(method) == earlier
    change()
    assert plane.rows() != rows or method.startswith("FleetService/")
    (event,) = plane.events(method)[: len(plane.events(method)) - len(earlier)]
    assert event["resource"].startswith(resource)
    assert event["peer"].startswith("127.0.0.1:")
    assert event["request_id"]
    actor = "token:" if method == "SessionService/CreateSession" else "local"
    assert event["actor"].startswith(actor)
    assert event["outcome"] == "SUCCEEDED"
    is_of_cluster = method.startswith(("FleetService/", "SessionService/"))
    project = "-" if is_of_cluster else "default"
    if method.startswith("ProjectService/"):
        project = resource.removeprefix("projects/")
    assert event["project"] == project


def test_repetitions_and_failures_have_no_event(plane: Plane) -> None:
    client = plane.client
    client.create_run(spec(cache=False), run_id="repeated", request_id="r1")
    count = len(plane.events("RunService/CreateRun"))
    client.create_run(spec(cache=False), run_id="repeated", request_id="r1")
    client.create_run(spec(cache=False), run_id="checked", validate_only=True)
    with pytest.raises(errors.AlreadyExists):
        client.create_run(spec(cache=False), run_id="repeated")
    events = plane.events("RunService/CreateRun")
    assert len(events) == count
    assert events[0]["request_id"] == "r1"
    client.cancel_run("repeated")
    client.cancel_run("repeated")
    cancelled = [event["resource"] for event in plane.events("RunService/CancelRun")]
    assert cancelled.count("runs/repeated") == 1


def test_no_secret_is_in_the_log(plane: Plane) -> None:
    secret = plane.client.create_token(["read"]).secret
    assert secret not in str(plane.events("TokenService/CreateToken"))
    assert secret.rpartition("_")[2] not in str(plane.events("TokenService/CreateToken"))
