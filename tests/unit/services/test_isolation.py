"""To a caller, what another project has and what never existed are the same.

Every method of the API is called by the owner of one project with a name that another project uses
and with a name that nobody uses. Both answers must be equal but for the name.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from services.domain.access.token import ALL_PROJECTS
from services.domain.caller import Caller, Identity
from services.domain.content.dataset import DatasetHeader
from services.domain.content.eval_set import EvalSetHeader
from services.domain.run import new_run_uid
from services.domain.scope import RULES, WORKER_LEASED, Role, Scope
from services.server import SERVICES
from services.usecases.access.projects import create_project
from services.usecases.access.sessions import create_session
from services.usecases.access.tokens import NewToken, store_token
from services.usecases.content import datasets, eval_sets, models, promotion
from services.usecases.context import Context
from services.usecases.fleet.workers import OTHER_PROJECT
from services.usecases.runs import baselines
from tailrace.access import PROJECT_HEADER
from tailrace.protomap import from_mapping
from tailrace.v1 import (
    artifact_pb2,
    baseline_pb2,
    dataset_pb2,
    evalset_pb2,
    model_pb2,
    project_pb2,
    quota_pb2,
    run_pb2,
    run_spec_pb2,
    session_pb2,
    token_pb2,
    worker_pb2,
)
from tailrace.worker_token import LEASE_HEADER
from tests.model_folder import files as model_files
from tests.servers.control_plane import ServedControlPlane
from tests.servers.worker_token import worker_token
from tests.unit.services.driver import Driver, spec
from tests.unit.services.usecases.content.test_eval_sets import item_line
from tests.unit.services.usecases.stored_content import put, trace_line

METHODS = {
    f"{service.rpartition('.')[2]}/{method.name}": method
    for service in SERVICES
    for method in descriptor_pool.Default().FindServiceByName(service).methods
}

OURS, THEIRS = "speech", "optics"

ABSENT = {
    "run": "nosuch-run",
    "uid": new_run_uid(),
    "dataset": "nosuch-dataset",
    "eval_set": "nosuch-evals",
    "model": "nosuch-model",
    "baseline": "nosuch-line",
    "artifact": "0" * 64,
    "blob": "1" * 64,
    "token": "abcdefghijkm",
    "session": "abcdefghijkn",
    "project": "nosuch",
}
"""Names that nobody has used, each as long as the real one."""

NAMES = {
    "run": "secret-run",
    "dataset": "secret-dataset",
    "eval_set": "secret-evals",
    "model": "secret-model",
    "baseline": "secret-line",
    "project": THEIRS,
}
"""Names of the other project."""

BLOB = b"content that only the other project has"


def create(**changes: Any) -> Message:
    message = from_mapping(run_spec_pb2.RunSpec, spec(**changes))
    return run_pb2.CreateRunRequest(run_id="attempt", spec=message)


def rubric(**backend: Any) -> list[dict[str, Any]]:
    return [{"name": "llm_rubric", "llm_rubric": {"rubric": "r", "backend": backend}}]


def listing(sha256: str) -> list[artifact_pb2.ArtifactFile]:
    return [artifact_pb2.ArtifactFile(path="config.json", sha256=sha256, size_bytes=len(BLOB))]


def upload(sha256: str) -> str:
    return f"uploads/{uuid.UUID(int=7)}/blobs/{sha256}/{len(BLOB)}"


def lines(header: Any, kind: type[Any]) -> list[Message]:
    return [kind(header=header), kind(data=trace_line())]


DISTILL = {"distill": {"teacher": "models/%s"}, "max_steps": 5, "eval_fraction": 0.2}

Build = Callable[[str], Message | list[Message]]

CASES: dict[str, list[tuple[str, Build]]] = {
    "RunService/CreateRun": [
        ("dataset", lambda name: create(dataset=name)),
        ("dataset", lambda name: create(dataset=f"{name}@1")),
        ("eval_set", lambda name: create(infer={"eval_sets": [name]})),
        ("eval_set", lambda name: create(infer={"eval_sets": [f"{name}@1"]})),
        ("model", lambda name: create(model={"source": f"models/{name}"})),
        ("model", lambda name: create(model={"source": f"models/{name}@1"})),
        ("model", lambda name: create(model={"source": f"models/{name}@prod"})),
        ("run", lambda name: create(model={"source": f"runs/{name}"})),
        ("uid", lambda name: create(model={"source": f"runs/{name}"})),
        ("run", lambda name: create(model={"source": f"runs/{name}@5"})),
        ("model", lambda name: create(judges=rubric(model=f"models/{name}"))),
        (
            "run",
            lambda name: create(
                dataset=None, model=None, train=None, infer=None, predictions=f"runs/{name}"
            ),
        ),
        (
            "run",
            lambda name: create(
                judges=[
                    {
                        "name": "pairwise",
                        "pairwise": {
                            "criteria": "c",
                            "baseline": f"runs/{name}",
                            "backend": {"model": "models/mine"},
                        },
                    }
                ]
            ),
        ),
        *(
            (
                kind,
                lambda name, kind=kind: create(
                    gates=[
                        {
                            "name": "g",
                            "judge": "answer_correctness",
                            "eval_set": "dataset:held_out",
                            "metric": "score",
                            "max_drop": 0.1,
                            "baseline": f"{kind}s/{name}",
                        }
                    ]
                ),
            )
            for kind in ("run", "baseline")
        ),
        (
            "model",
            lambda name: create(
                train={"distill": {"teacher": f"models/{name}"}, "max_steps": 5}, infer=None,
                judges=None,
            ),
        ),
    ],
    **{
        f"RunService/{method}": [
            (kind, lambda name, method=method, field=field: getattr(
                run_pb2, f"{method}Request")(**{field: f"runs/{name}"}))
            for kind in ("run", "uid")
        ]
        for method, field in (
            ("GetRun", "name"),
            ("CancelRun", "name"),
            ("RetryRun", "name"),
            ("WatchRun", "name"),
            ("StreamLogs", "name"),
            ("StreamMetrics", "name"),
            ("ListLogLines", "name"),
            ("ListPredictions", "parent"),
            ("ListVerdicts", "parent"),
        )
    },
    "RunService/CompareRuns": [
        ("run", lambda name: run_pb2.CompareRunsRequest(names=["runs/mine", f"runs/{name}"])),
    ],
    "ArtifactService/Read": [
        ("blob", lambda name: artifact_pb2.ReadRequest(resource_name=f"blobs/{name}")),
    ],
    "ArtifactService/QueryWriteStatus": [
        ("blob", lambda name: artifact_pb2.QueryWriteStatusRequest(resource_name=upload(name))),
    ],
    "ArtifactService/Write": [
        # A complete blob would be acknowledged without its content.
        ("blob", lambda name: [artifact_pb2.WriteRequest(resource_name=upload(name), data=b"x",
                                                         finish_write=True)]),
    ],
    "ArtifactService/GetArtifact": [
        ("artifact", lambda name: artifact_pb2.GetArtifactRequest(name=f"artifacts/{name}")),
    ],
    "ArtifactService/ListArtifacts": [
        ("run", lambda name: artifact_pb2.ListArtifactsRequest(parent=f"runs/{name}")),
    ],
    "BaselineService/SetBaseline": [
        ("run", lambda name: baseline_pb2.SetBaselineRequest(name="baselines/b",
                                                             run=f"runs/{name}")),
    ],
    "BaselineService/GetBaseline": [
        ("baseline", lambda name: baseline_pb2.GetBaselineRequest(name=f"baselines/{name}")),
    ],
    "BaselineService/DeleteBaseline": [
        ("baseline", lambda name: baseline_pb2.DeleteBaselineRequest(name=f"baselines/{name}")),
    ],
    "DatasetService/GetDataset": [
        ("dataset", lambda name: dataset_pb2.GetDatasetRequest(name=f"datasets/{name}")),
        ("dataset", lambda name: dataset_pb2.GetDatasetRequest(name=f"datasets/{name}@1")),
    ],
    "DatasetService/ExportDataset": [
        ("dataset", lambda name: dataset_pb2.ExportDatasetRequest(name=f"datasets/{name}")),
    ],
    "EvalSetService/GetEvalSet": [
        ("eval_set", lambda name: evalset_pb2.GetEvalSetRequest(name=f"evalsets/{name}")),
    ],
    "ModelService/ImportModel": [
        ("blob", lambda name: model_pb2.ImportModelRequest(model_id="m", files=listing(name))),
    ],
    "ModelService/PromoteModel": [
        ("run", lambda name: model_pb2.PromoteModelRequest(run=f"runs/{name}", model_id="m",
                                                           force=True, reason="r")),
    ],
    "ModelService/SetModelAlias": [
        ("model", lambda name: model_pb2.SetModelAliasRequest(name=f"models/{name}", alias="prod",
                                                              version=1)),
    ],
    "ModelService/DeleteModel": [
        ("model", lambda name: model_pb2.DeleteModelRequest(name=f"models/{name}")),
        ("model", lambda name: model_pb2.DeleteModelRequest(name=f"models/{name}@1",
                                                            allow_missing=True)),
    ],
    "ModelService/GetModel": [
        ("model", lambda name: model_pb2.GetModelRequest(name=f"models/{name}")),
        ("model", lambda name: model_pb2.GetModelRequest(name=f"models/{name}@prod")),
    ],
    "ProjectService/GetProject": [
        ("project", lambda name: project_pb2.GetProjectRequest(name=f"projects/{name}")),
    ],
    "TokenService/CreateToken": [
        ("project", lambda name: token_pb2.CreateTokenRequest(token=token_pb2.Token(
            project=f"projects/{name}", role=project_pb2.PROJECT_ROLE_VIEWER))),
    ],
    "QuotaService/GetQuotas": [
        ("project", lambda name: quota_pb2.GetQuotasRequest(name=f"projects/{name}/quotas")),
    ],
    "SessionService/EndSession": [
        ("session", lambda name: session_pb2.EndSessionRequest(name=f"sessions/{name}")),
    ],
    "TokenService/RevokeToken": [
        ("token", lambda name: token_pb2.RevokeTokenRequest(name=f"tokens/{name}")),
    ],
}  # fmt: skip
"""Requests that name a resource, with the kind of the name."""

CREATED: dict[str, Message | list[Message]] = {
    "DatasetService/SeedDataset": dataset_pb2.SeedDatasetRequest(dataset_id="golden-v2"),
    "DatasetService/ImportDataset": lines(
        dataset_pb2.ImportDatasetHeader(dataset_id=NAMES["dataset"]),
        dataset_pb2.ImportDatasetRequest,
    ),
    "EvalSetService/ImportEvalSet": [
        evalset_pb2.ImportEvalSetRequest(
            header=evalset_pb2.ImportEvalSetHeader(eval_set_id=NAMES["eval_set"])
        ),
        evalset_pb2.ImportEvalSetRequest(data=item_line("other")),
    ],
}
"""Requests that name only what they create: the names of other projects are free."""

LISTS = {
    "RunService/ListRuns",
    "BaselineService/ListBaselines",
    "DatasetService/ListDatasets",
    "EvalSetService/ListEvalSets",
    "ModelService/ListModels",
    "FleetService/ListWorkers",
    "FleetService/ListPools",
    "ProjectService/ListProjects",
    "TokenService/ListTokens",
    "QuotaService/SumUsage",
    "AuditService/ListAuditEvents",
}
"""Methods that list: what they return has nothing of another project."""

OF_ALL = {"FleetService/GetWorker"}
"""Methods on workers, which serve all projects; a test below looks at what they show of stages."""

NAMELESS = {"SessionService/GetLoginOptions", "SessionService/CreateSession"}
"""Methods that name nothing."""


def test_every_method_is_tried_with_names_of_another_project() -> None:
    administration = {name for name, rule in RULES.items() if rule <= {Scope.ADMIN}}
    workers_only = {name for name, rule in RULES.items() if rule == {Scope.WORKER}}
    tried = {*CASES, *CREATED, *LISTS, *OF_ALL, *NAMELESS}
    assert set(RULES) == tried | administration | workers_only
    assert not tried & (administration | workers_only)


class Neighbours:
    """A control plane with two projects, and the owner of one of them."""

    def __init__(self, plane: ServedControlPlane) -> None:
        self.plane = plane
        self.context: Context = plane.control_plane.context
        self.channel = grpc.insecure_channel(plane.address)
        self.real: dict[str, str] = dict(NAMES)
        self.ours = self.theirs = self.text = ""
        plane.call(self._fill())

    async def _fill(self) -> None:
        for project in (OURS, THEIRS):
            await create_project(self.context, Caller(), project, "")
        self.text = await self._token(OURS, Role.OWNER)
        theirs = await self._token(THEIRS, Role.OWNER)
        self.real["token"] = theirs.split("_")[1]
        other = Identity("oidc:other", {THEIRS: Role.EDITOR})
        self.real["session"] = (await create_session(self.context, Caller(), other, ""))[0].token_id
        self.worker = Driver(self.context, caller=Caller(THEIRS))
        await self.worker.register(slots=2)
        await self._content(Caller(THEIRS))
        mine = await self._run(Caller(OURS), "mine")
        assert mine

    async def _token(self, project: str, role: Role) -> str:
        new = NewToken(project=project, role=role)
        return (await store_token(self.context.database, Caller(), new, project))[1]

    async def _content(self, caller: Caller) -> None:
        self.real["blob"] = (await put(self.context, "b", BLOB, caller.project)).sha256

        async def data(content: bytes) -> Any:
            yield content

        dataset = DatasetHeader(NAMES["dataset"], "", None)
        await datasets.import_lines(self.context, caller, dataset, data(trace_line()))
        evals = EvalSetHeader(NAMES["eval_set"], "")
        await eval_sets.import_lines(self.context, caller, evals, data(item_line("a")))
        files = [
            await put(self.context, path, content, caller.project)
            for path, content in model_files().items()
        ]
        model = await models.import_folder(self.context, caller, NAMES["model"], "", files)
        self.real["artifact"] = model.artifact.listing.digest
        await promotion.set_alias(self.context, caller, f"models/{NAMES['model']}", "prod", 1)
        self.real["uid"] = await self._run(caller, NAMES["run"])
        await baselines.set_baseline(self.context, caller, NAMES["baseline"], NAMES["run"], "")

    async def _run(self, caller: Caller, run_id: str) -> str:
        """Create a run and complete its stages; return its uid."""
        await datasets.seed(self.context, caller, "golden-v2")
        self.worker.caller = caller
        view = await self.worker.create(run_id)
        for _ in view.stages:
            await self.worker.complete(await self.worker.start(run_id))
        return view.run.uid

    def call(
        self, name: str, request: Message | list[Message], *metadata: tuple[str, str]
    ) -> tuple[str, str, str]:
        """The code of a call, its message, and the details or the response as text."""
        method = METHODS[name]
        kind = "_".join(
            "stream" if streams else "unary"
            for streams in (method.client_streaming, method.server_streaming)
        )
        response_class = GetMessageClass(method.output_type)
        stub = getattr(self.channel, kind)(
            f"/{method.containing_service.full_name}/{method.name}",
            lambda message: message.SerializeToString(),
            response_class.FromString,
        )
        sent = request if not method.client_streaming else iter(request)
        headers = metadata or (("authorization", f"Bearer {self.text}"),)
        try:
            response = stub(sent, timeout=20, metadata=headers)
            return "OK", "", str(list(response) if method.server_streaming else response)
        except grpc.RpcError as error:
            status: Any = rpc_status.from_call(error)
            return error.code().name, status.message, str(status.details)


@pytest.fixture(scope="module")
def neighbours(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Neighbours]:
    folder = tmp_path_factory.mktemp("neighbours")
    plane = ServedControlPlane.on_copy(sqlite_template, folder, require_tokens=True)
    served = Neighbours(plane)
    yield served
    served.channel.close()
    plane.stop()


OPEN = {"ArtifactService/QueryWriteStatus", "ArtifactService/Write", "ModelService/DeleteModel"}
"""Methods that do not answer NOT_FOUND for a name that nobody uses."""


@pytest.mark.parametrize("name", CASES)
def test_another_projects_names_look_as_if_they_did_not_exist(
    neighbours: Neighbours, name: str
) -> None:
    for kind, build in CASES[name]:
        real, absent = neighbours.real[kind], ABSENT[kind]
        assert len(real) == len(absent)
        for_real = neighbours.call(name, build(real))
        for_absent = neighbours.call(name, build(absent))
        assert for_real == tuple(part.replace(absent, real) for part in for_absent)
        if name not in OPEN and kind != "blob":
            assert for_real[0] == "NOT_FOUND", for_real


def test_ids_and_request_ids_of_another_project_are_free(neighbours: Neighbours) -> None:
    message = from_mapping(run_spec_pb2.RunSpec, spec(cache=False))
    for project in (THEIRS, OURS):
        request = run_pb2.CreateRunRequest(run_id="same", spec=message, request_id="request-1")
        admin = neighbours.plane.call(_admin(neighbours.context))
        headers = (("authorization", f"Bearer {admin}"), (PROJECT_HEADER, project))
        code, _, response = neighbours.call("RunService/CreateRun", request, *headers)
        assert code == "OK", response


async def _admin(context: Context) -> str:
    new = NewToken(scopes=[Scope.ADMIN])
    return (await store_token(context.database, Caller(), new, ALL_PROJECTS))[1]


@pytest.mark.parametrize("name", sorted(LISTS))
def test_lists_have_nothing_of_another_project(neighbours: Neighbours, name: str) -> None:
    request = GetMessageClass(METHODS[name].input_type)()
    if isinstance(request, quota_pb2.SumUsageRequest):
        request.group_by = quota_pb2.USAGE_GROUP_PROJECT
    code, _, response = neighbours.call(name, request)
    assert code == "OK", response
    assert not [real for real in neighbours.real.values() if real in response]


def test_a_filter_finds_no_run_of_another_project(neighbours: Neighbours) -> None:
    request = run_pb2.ListRunsRequest(filter=f'uid = "{neighbours.real["uid"]}"')
    assert neighbours.call("RunService/ListRuns", request) == ("OK", "", "")


def test_a_page_token_counts_in_its_project_only(neighbours: Neighbours) -> None:
    admin = neighbours.plane.call(_admin(neighbours.context))
    first = run_pb2.ListRunsRequest(page_size=1, order_by="create_time")
    _, _, response = neighbours.call(
        "RunService/ListRuns",
        first,
        ("authorization", f"Bearer {admin}"),
        (PROJECT_HEADER, THEIRS),
    )
    token = response.rpartition("next_page_token: ")[2].strip().strip('"')
    assert token
    first.page_token = token
    code, message, _ = neighbours.call("RunService/ListRuns", first)
    assert code == "INVALID_ARGUMENT"
    assert "parent or project" in message


def test_results_are_not_reused_across_projects(neighbours: Neighbours) -> None:
    # Both projects have a run with this spec and the same dataset; ours had to run.
    request = run_pb2.GetRunRequest(name="runs/mine")
    _, _, response = neighbours.call("RunService/GetRun", request)
    assert "SKIPPED" not in response
    assert "cached_from" not in response


def test_a_worker_reads_content_of_its_leases_project_only(neighbours: Neighbours) -> None:
    async def order() -> Any:
        neighbours.worker.caller = Caller(OURS)
        await neighbours.worker.create("leased", cache=False)
        return await neighbours.worker.start("leased")

    lease = neighbours.plane.call(order())
    token = worker_token().metadata()
    leased = (*token, (LEASE_HEADER, str(lease.lease)))
    for name in WORKER_LEASED - {"RunService/ListPredictions"}:
        ((_, build),) = CASES[name]
        for_real = neighbours.call(name, build(neighbours.real["blob"]), *leased)
        for_absent = neighbours.call(name, build(ABSENT["blob"]), *leased)
        assert for_real[0] == for_absent[0] != "FAILED_PRECONDITION"
        code, message, _ = neighbours.call(name, build(neighbours.real["blob"]), *token)
        assert (code, "lease" in message) == ("FAILED_PRECONDITION", True)
    own = lease.inputs.artifacts[0].listing.files[0].sha256
    request = artifact_pb2.ReadRequest(resource_name=f"blobs/{own}")
    assert neighbours.call("ArtifactService/Read", request, *leased)[0] == "OK"
    for name, request in (
        ("FleetService/ListWorkers", worker_pb2.ListWorkersRequest()),
        ("FleetService/GetWorker", worker_pb2.GetWorkerRequest(name="workers/w1")),
    ):
        assert "runs/leased/stages/train" in neighbours.call(name, request)[2]
        theirs = neighbours.plane.call(neighbours._token(THEIRS, Role.VIEWER))
        shown = neighbours.call(name, request, ("authorization", f"Bearer {theirs}"))[2]
        assert "leased" not in shown
        assert f'"{OTHER_PROJECT}"' in shown


@pytest.mark.parametrize("name", sorted(CREATED))
def test_names_of_another_project_are_free(neighbours: Neighbours, name: str) -> None:
    code, _, response = neighbours.call(name, CREATED[name])
    assert code == "OK", response
    assert "@2" not in response


def test_bytes_prove_content(neighbours: Neighbours) -> None:
    # Uploading what another project has too works as if it had not, and then it is ours as well.
    sha256 = hashlib.sha256(BLOB).hexdigest()
    assert sha256 == neighbours.real["blob"]
    name = f"uploads/{uuid.uuid4()}/blobs/{sha256}/{len(BLOB)}"
    whole = [artifact_pb2.WriteRequest(resource_name=name, data=BLOB, finish_write=True)]
    assert neighbours.call("ArtifactService/Write", whole)[0] == "OK"
    status = artifact_pb2.QueryWriteStatusRequest(resource_name=name)
    assert "complete: true" in neighbours.call("ArtifactService/QueryWriteStatus", status)[2]
