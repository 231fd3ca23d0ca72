"""Scopes and roles of callers, and the scope that each method needs."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping


class Scope(enum.StrEnum):
    """Right of a caller."""

    READ = "read"
    """Reads everything but tokens."""
    WRITE = "write"
    """READ, and creates and changes runs and content."""
    TOKENS = "tokens"
    """Manages the tokens of its project; includes no other scope."""
    ADMIN = "admin"
    """All of these in every project, and manages projects and workers."""
    WORKER = "worker"
    """Acts as a worker; includes no other scope."""


IN_ALL = frozenset({Scope.ADMIN, Scope.WORKER})
"""Scopes that count in every project."""


class Role(enum.StrEnum):
    """Rights in one project."""

    VIEWER = "viewer"
    """Reads runs and content."""
    EDITOR = "editor"
    """VIEWER, and creates and changes runs and content."""
    OWNER = "owner"
    """EDITOR, and manages the tokens of the project."""

    @property
    def scopes(self) -> frozenset[Scope]:
        """Scopes of a caller with the role."""
        return _ROLE_SCOPES[self]


_ROLE_SCOPES = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.EDITOR: frozenset({Scope.WRITE}),
    Role.OWNER: frozenset({Scope.WRITE, Scope.TOKENS}),
}


def role_of(scopes: Collection[Scope]) -> Role | None:
    """Return the highest role whose rights the scopes include; ``None`` for a worker's."""
    if Scope.ADMIN in scopes or Scope.TOKENS in scopes:
        return Role.OWNER
    if Scope.WRITE in scopes:
        return Role.EDITOR
    return Role.VIEWER if Scope.READ in scopes else None


_R = frozenset({Scope.READ, Scope.WRITE, Scope.ADMIN})
_W = frozenset({Scope.WRITE, Scope.ADMIN})
_O = frozenset({Scope.TOKENS, Scope.ADMIN})
_A = frozenset({Scope.ADMIN})
_ANY_CLIENT = _R | _O
_S = frozenset({Scope.WORKER})

CLIENT_SCOPES = _R
"""Scopes of a caller without a credential where none is required."""

RULES: Mapping[str, frozenset[Scope]] = {
    "RunService/CreateRun": _W,
    "RunService/GetRun": _R,
    "RunService/ListRuns": _R,
    "RunService/CancelRun": _W,
    "RunService/RetryRun": _W,
    "RunService/WatchRun": _R,
    "RunService/StreamLogs": _R,
    "RunService/ListLogLines": _R,
    "RunService/StreamMetrics": _R,
    # A worker reads those of the run that it holds a lease of (WORKER_LEASED).
    "RunService/ListPredictions": _R | _S,
    "RunService/ListVerdicts": _R,
    "RunService/CompareRuns": _R,
    # A worker uploads and reads content for the project of its lease (WORKER_LEASED).
    "ArtifactService/Write": _W | _S,
    "ArtifactService/QueryWriteStatus": _W | _S,
    "ArtifactService/Read": _R | _S,
    "ArtifactService/GetArtifact": _R,
    "ArtifactService/ListArtifacts": _R,
    "BaselineService/SetBaseline": _W,
    "BaselineService/GetBaseline": _R,
    "BaselineService/ListBaselines": _R,
    "BaselineService/DeleteBaseline": _W,
    "DatasetService/SeedDataset": _W,
    "DatasetService/ImportDataset": _W,
    "DatasetService/GetDataset": _R,
    "DatasetService/ListDatasets": _R,
    "DatasetService/ExportDataset": _R,
    "EvalSetService/ImportEvalSet": _W,
    "EvalSetService/GetEvalSet": _R,
    "EvalSetService/ListEvalSets": _R,
    "ModelService/ImportModel": _W,
    "ModelService/PromoteModel": _W,
    "ModelService/SetModelAlias": _W,
    "ModelService/DeleteModel": _W,
    "ModelService/GetModel": _R,
    "ModelService/ListModels": _R,
    "FleetService/ListWorkers": _R,
    "FleetService/GetWorker": _R,
    "FleetService/DrainWorker": _A,
    "FleetService/UndrainWorker": _A,
    "FleetService/ForgetWorker": _A,
    "FleetService/RevokeWorkerCertificate": _A,
    "FleetService/ListPools": _R,
    "ProjectService/CreateProject": _A,
    "ProjectService/GetProject": _R,
    "ProjectService/ListProjects": _R,
    "ProjectService/DeleteProject": _A,
    "TokenService/CreateToken": _O,
    "TokenService/ListTokens": _O,
    "TokenService/RevokeToken": _O,
    # Without a credential, too (PUBLIC).
    "SessionService/GetLoginOptions": frozenset(Scope),
    "SessionService/CreateSession": _ANY_CLIENT,
    "SessionService/EndSession": _ANY_CLIENT,
    "QuotaService/GetQuotas": _R,
    "QuotaService/SetQuotas": _A,
    "QuotaService/SumUsage": _R,
    # An owner lists the events of the project.
    "AuditService/ListAuditEvents": _O,
    "AuditService/GetAuditChain": _A,
    "StageService/RegisterWorker": _S,
    "StageService/WorkerHeartbeat": _S,
    "StageService/AcquireStage": _S,
    "StageService/PublishEvents": _S,
    "StageService/FindReference": _S,
    "StageService/ConfirmDispatch": _S,
    "StageService/CompleteStage": _S,
    "StageService/FailStage": _S,
    "StageService/ReleaseStage": _S,
}
"""Scopes of which a caller needs one, by method. A test compares the keys with the descriptors."""

WORKER_LEASED = frozenset(
    {
        "RunService/ListPredictions",
        "ArtifactService/Write",
        "ArtifactService/QueryWriteStatus",
        "ArtifactService/Read",
    }
)
"""Methods that a caller with the scope WORKER may call for the run of its lease only, or for that
run's project.
"""

PUBLIC = frozenset({"SessionService/GetLoginOptions"})
"""Methods that need no credential."""

ANY_PROJECT = frozenset(
    {
        "ProjectService/CreateProject",
        "ProjectService/GetProject",
        "ProjectService/ListProjects",
        "ProjectService/DeleteProject",
        "SessionService/CreateSession",
        "SessionService/EndSession",
    }
)
"""Methods that concern no project: a role in any one suffices."""

NOT_FOR_SESSIONS = frozenset({"TokenService/CreateToken", "SessionService/CreateSession"})
"""Methods that make credentials: what a session makes would outlive it."""
