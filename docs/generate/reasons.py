"""The reasons that errors carry: their gRPC codes, and the meaning and the way out of each.

``tests/unit/docs`` compares them with the contract that ``tests/contract`` reads from the code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """A reason of an error, stable and for programs."""

    code: str
    """Name of the gRPC status code."""
    meaning: str
    """Condition under which it is given."""
    way_out: str
    """Action that lets the call, or the stage, succeed."""


_REPEAT = "Nothing: the SDK repeats the call."
_WORKER_REPEATS = "Nothing: the worker does it."

CALLS: dict[str, Reason] = {
    "OIDC_TOKEN_INVALID": Reason(
        "UNAUTHENTICATED",
        "The token of the OpenID provider is not valid here; the message names the check.",
        "`tailrace login --oidc` again; for another issuer or audience, correct "
        "`TAILRACE_OIDC_FILE`.",
    ),
    "OIDC_OFF": Reason(
        "FAILED_PRECONDITION",
        "The control plane knows no OpenID provider.",
        "Log in with an API token, or set `TAILRACE_OIDC_FILE` on the server.",
    ),
    "NO_ROLE": Reason(
        "PERMISSION_DENIED",
        "The login is valid, but its claims give no role.",
        "An administrator maps claims to projects and roles in `TAILRACE_OIDC_FILE`.",
    ),
    "ISSUER_UNAVAILABLE": Reason(
        "UNAVAILABLE",
        "The keys of the OpenID provider cannot be fetched.",
        "Try again in a minute; the control plane's log names the cause.",
    ),
    "LOGIN_EXPIRED": Reason(
        "UNAVAILABLE",
        "The access token of an open stream has expired.",
        "Nothing: the SDK opens the stream again with a new token, at its cursor.",
    ),
    "NONCE_MISMATCH": Reason(
        "UNAUTHENTICATED",
        "The ID token is not from the login for which a session is asked.",
        "Log in again.",
    ),
    "IS_SESSION": Reason(
        "PERMISSION_DENIED",
        "A session asks for a token or another session.",
        "Use an API token or a login.",
    ),
    "NOT_A_SESSION": Reason(
        "FAILED_PRECONDITION",
        "The credential of the call is not a session, and no session is named.",
        "Name the session to end.",
    ),
    "SESSION_NOT_FOUND": Reason(
        "NOT_FOUND", "No session has this name, or it is another's.", "Check the name."
    ),
    "INVALID_INPUT": Reason(
        "INVALID_ARGUMENT",
        "Fields of the request are wrong; `BadRequest` names every one.",
        "Correct the fields named.",
    ),
    "RUN_NOT_FOUND": Reason(
        "NOT_FOUND", "No run has this id or uid.", "`tailrace runs list` names all runs."
    ),
    "PROJECT_EXISTS": Reason(
        "ALREADY_EXISTS",
        "The id is that of another project, or of a deleted one.",
        "Choose another id.",
    ),
    "PROJECT_NOT_EMPTY": Reason(
        "FAILED_PRECONDITION",
        "A project that has runs, content or tokens in force cannot be deleted.",
        "Revoke its tokens to close it.",
    ),
    "RIGHTS_EXCEEDED": Reason(
        "PERMISSION_DENIED",
        "The token to create would have rights that the caller lacks.",
        "Leave the project out, or ask an administrator.",
    ),
    "PROJECT_NOT_FOUND": Reason(
        "NOT_FOUND",
        "The project does not exist, or the caller has no role in it.",
        "Choose another with --project or TAILRACE_PROJECT.",
    ),
    "DATASET_NOT_FOUND": Reason(
        "NOT_FOUND",
        "No dataset, or no version of it, has this name.",
        "`tailrace datasets list` names all; `seed` and `import` create one.",
    ),
    "EVAL_SET_NOT_FOUND": Reason(
        "NOT_FOUND",
        "No eval set, or no version of it, has this name.",
        "`tailrace evalsets list` names all; `import` creates one.",
    ),
    "MODEL_NOT_FOUND": Reason(
        "NOT_FOUND",
        "No model, or no version of it, has this name; or it is deleted.",
        "`tailrace models list` names all; `import` creates one.",
    ),
    "BASELINE_NOT_FOUND": Reason(
        "NOT_FOUND", "No baseline has this name.", "`tailrace baselines list` names all."
    ),
    "ARTIFACT_NOT_FOUND": Reason(
        "NOT_FOUND", "No artifact has this digest.", "Read the run's artifacts with ListArtifacts."
    ),
    "BLOB_NOT_FOUND": Reason(
        "NOT_FOUND", "No complete file has this digest.", "Upload it, or read an artifact's files."
    ),
    "WORKER_NOT_FOUND": Reason(
        "NOT_FOUND", "No worker has this name.", "`tailrace workers list` names all workers."
    ),
    "RUN_EXISTS": Reason("ALREADY_EXISTS", "Another run has this id.", "Choose another id."),
    "MODEL_EXISTS": Reason(
        "ALREADY_EXISTS", "A model of this id has other files.", "Choose another id."
    ),
    "REQUEST_ID_REUSED": Reason(
        "ALREADY_EXISTS",
        "The request id belongs to an earlier request with another content.",
        "Send a fresh request id.",
    ),
    "REQUEST_BUSY": Reason(
        "UNAVAILABLE", "Another call with the same request id is in progress.", _REPEAT
    ),
    "NO_PREDICTIONS": Reason(
        "FAILED_PRECONDITION",
        "The run whose predictions are to be judged has none: its INFER stage is not done.",
        "Wait for that stage, or name another run.",
    ),
    "NO_MODEL": Reason(
        "FAILED_PRECONDITION",
        "The run to promote trains no model, or its model folder has no valid config.json.",
        "Name a run with a TRAIN stage.",
    ),
    "MODEL_IN_USE": Reason(
        "FAILED_PRECONDITION",
        "Unfinished runs load the model to delete, or aliases refer to the version; the metadata "
        "`dependents` lists them.",
        "Move the aliases; wait for the runs to end, or cancel them.",
    ),
    "GATES_NOT_PASSED": Reason(
        "FAILED_PRECONDITION",
        "The run to promote has no gates, or has not passed each of them.",
        "Give `force` with a reason, or submit a run with gates that it passes.",
    ),
    "SOURCE_RUN_FAILED": Reason(
        "FAILED_PRECONDITION",
        "The run whose model `model.source` names has FAILED.",
        "Retry that run first, or start from one of its checkpoints (`runs/{run}@{step}`).",
    ),
    "SOURCE_RUN_CANCELLED": Reason(
        "FAILED_PRECONDITION",
        "The run whose model `model.source` names is CANCELLED.",
        "Retry that run first, or start from one of its checkpoints (`runs/{run}@{step}`).",
    ),
    "CHECKPOINT_NOT_FOUND": Reason(
        "NOT_FOUND",
        "The run that `model.source` names has succeeded without a checkpoint of this step.",
        "Name one of the steps in the message.",
    ),
    "RUN_TERMINAL": Reason(
        "FAILED_PRECONDITION", "The run to cancel has already ended.", "Nothing is left to cancel."
    ),
    "RUN_NOT_RETRYABLE": Reason(
        "FAILED_PRECONDITION",
        "The run is neither FAILED nor CANCELLED, or every stage has its result.",
        "Wait until it ends, or submit a new run.",
    ),
    "RUN_NOT_SUCCEEDED": Reason(
        "FAILED_PRECONDITION",
        "A baseline, or the run to promote, must have SUCCEEDED.",
        "Wait for the run, or name another one.",
    ),
    "TOO_MANY_RUNS": Reason(
        "RESOURCE_EXHAUSTED",
        "As many runs are unfinished as the project, or one label, may have.",
        "Wait for a run to end, cancel one, or raise "
        "[the quota](../quotas.md#quotas) or `TAILRACE_MAX_RUNS_PER_LABEL`.",
    ),
    "TOO_MANY_STREAMS": Reason(
        "RESOURCE_EXHAUSTED",
        "As many streams or uploads are open as this control plane allows, in all or to the "
        "project.",
        "End one, try again later, or raise [the quota](../quotas.md#quotas), "
        "[`TAILRACE_MAX_OPEN_STREAMS` or `TAILRACE_MAX_OPEN_UPLOADS`]"
        "(configuration.md#control-plane).",
    ),
    "TOO_MANY_REQUESTS": Reason(
        "RESOURCE_EXHAUSTED",
        "The project, or this caller, calls more often than it may.",
        "Wait as long as `RetryInfo` says, as the SDK does, or raise "
        "[the quota](../quotas.md#quotas).",
    ),
    "TOO_MANY_STORED_BYTES": Reason(
        "RESOURCE_EXHAUSTED",
        "The project may not store as much as the upload or the artifact adds. A stage whose "
        "result does not fit fails with it.",
        "Raise [the quota](../quotas.md#quotas); then upload again, or retry the run.",
    ),
    "TOO_MANY_UPLOAD_BYTES": Reason(
        "RESOURCE_EXHAUSTED",
        "The unfinished uploads of the project are too large together.",
        "Wait for one to end, or raise [the quota](../quotas.md#quotas).",
    ),
    "TOO_MANY_VERDICTS": Reason(
        "RESOURCE_EXHAUSTED",
        "A run has more verdicts than a comparison reads.",
        "Download the verdicts and compare them elsewhere.",
    ),
    "MESSAGE_TOO_LARGE": Reason(
        "RESOURCE_EXHAUSTED",
        "The request has more bytes or fields than its method takes.",
        "Send a smaller request.",
    ),
    "BLOB_TOO_LARGE": Reason(
        "RESOURCE_EXHAUSTED",
        "A file of an artifact is too large.",
        "Raise [`TAILRACE_MAX_BLOB_BYTES`](configuration.md#control-plane).",
    ),
    "DATASET_TOO_LARGE": Reason(
        "RESOURCE_EXHAUSTED",
        "The dataset has more bytes or traces than are allowed.",
        "Split it, or raise [`TAILRACE_MAX_DATASET_BYTES`](configuration.md#control-plane).",
    ),
    "EVAL_SET_TOO_LARGE": Reason(
        "RESOURCE_EXHAUSTED",
        "The eval set has more bytes or items than are allowed.",
        "Split it.",
    ),
    "STORAGE_FULL": Reason(
        "RESOURCE_EXHAUSTED",
        "The disk of the artifact store is full, or would fall below "
        "[`TAILRACE_MIN_FREE_BYTES`](configuration.md#control-plane).",
        "Free space on it and try again.",
    ),
    "WRITE_OFFSET_MISMATCH": Reason(
        "FAILED_PRECONDITION",
        "The upload does not continue where the stored part ends.",
        "Continue from the offset that QueryWriteStatus returns.",
    ),
    "UPLOAD_BUSY": Reason(
        "UNAVAILABLE", "Another stream writes this upload.", "Wait, or use another uuid."
    ),
    "STREAM_IDLE": Reason(
        "UNAVAILABLE",
        "No message of the upload came for "
        "[`TAILRACE_UPLOAD_IDLE_SECONDS`](configuration.md#control-plane).",
        _REPEAT,
    ),
    "OFFSET_PAST_END": Reason(
        "OUT_OF_RANGE", "`read_offset` is larger than the file.", "Read from within the file."
    ),
    "BLOB_MISSING": Reason(
        "FAILED_PRECONDITION",
        "An artifact or model names files that are not uploaded.",
        "Upload the files first.",
    ),
    "DRAINING": Reason("UNAVAILABLE", "The control plane is shutting down.", _REPEAT),
    "OVERLOADED": Reason("UNAVAILABLE", "Too many calls wait for the database.", _REPEAT),
    "DATABASE_UNAVAILABLE": Reason("UNAVAILABLE", "The database cannot be reached.", _REPEAT),
    "HTTP_STATUS": Reason(
        "UNAVAILABLE",
        "A proxy or web server answered instead of a control plane, with the status in the "
        "metadata's `http_status`. The code depends on the status.",
        "Change the server's address or the proxy's settings; the message says which.",
    ),
    "INTERNAL": Reason(
        "INTERNAL",
        "The control plane has a fault.",
        "Its log has the details under the `error_id` of the error's metadata.",
    ),
}
"""Reasons of failed calls of clients."""

WORKER_CALLS: dict[str, Reason] = {
    "STREAM_AGED": Reason(
        "UNAVAILABLE",
        "The stream has been open for TAILRACE_MAX_STREAM_SECONDS.",
        "Nothing: SDK, command line and workers continue at their cursor.",
    ),
    "TOKEN_MISSING": Reason(
        "UNAUTHENTICATED",
        "The control plane requires a token, and the call carried none.",
        "`tailrace login` stores one; an administrator makes it with `tailrace tokens create`.",
    ),
    "TOKEN_INVALID": Reason(
        "UNAUTHENTICATED",
        "The token is unknown or wrong, has expired or was revoked.",
        "Ask an administrator for another, then `tailrace login`.",
    ),
    "SCOPE_MISSING": Reason(
        "PERMISSION_DENIED",
        "The token does not have the scope that the method needs.",
        "Use a token with the scope that the message names.",
    ),
    "WORKERS_ONLY": Reason(
        "PERMISSION_DENIED",
        "A client called the port for workers.",
        "Set `TAILRACE_SERVER` to the port for clients, `TAILRACE_LISTEN` of the control plane.",
    ),
    "OTHER_RUN": Reason(
        "PERMISSION_DENIED",
        "A worker asked for a run of which it holds no lease.",
        "Nothing: a worker reads the run of its lease.",
    ),
    "TOKEN_NOT_FOUND": Reason(
        "NOT_FOUND", "No API token has this name.", "`tailrace tokens list` shows all."
    ),
    "WORKER_CERTIFICATE": Reason(
        "UNAUTHENTICATED",
        "This control plane has a separate listener for workers, or the certificate names none.",
        "Set `TAILRACE_SERVER` to its `TAILRACE_WORKER_BIND`, and the worker's TLS files.",
    ),
    "CERTIFICATE_REVOKED": Reason(
        "UNAUTHENTICATED",
        "The worker's certificate was made before an administrator revoked those of its name.",
        "Make a new one with `tailrace certs worker`.",
    ),
    "WORKER_BINDING": Reason(
        "PERMISSION_DENIED",
        "The worker's certificate or token belongs to another worker, or does not include a pool.",
        "Set [`TAILRACE_WORKER_NAME` and `TAILRACE_POOLS`](configuration.md#worker) to those of "
        "the credential, or use another.",
    ),
    "WORKER_TOKEN": Reason(
        "UNAUTHENTICATED",
        "The call lacks the control plane's worker token.",
        "Let [`TAILRACE_WORKER_TOKEN_FILE`](configuration.md#worker) name a copy of the control "
        "plane's file.",
    ),
    "WORKER_SECRET": Reason(
        "PERMISSION_DENIED",
        "The call lacks the secret of this worker's last registration.",
        "Register again.",
    ),
    "WORKER_UNKNOWN": Reason(
        "NOT_FOUND", "The worker is not registered.", "Nothing: the worker registers again."
    ),
    "WORKER_NAME_TAKEN": Reason(
        "FAILED_PRECONDITION",
        "A live worker on another host has this name.",
        "Set [`TAILRACE_WORKER_NAME`](configuration.md#worker), or stop that worker and wait until "
        "it is OFFLINE.",
    ),
    "WORKER_ALIVE": Reason(
        "FAILED_PRECONDITION",
        "The worker to forget is not OFFLINE.",
        "Drain or stop it first.",
    ),
    "PROTOCOL_UNSUPPORTED": Reason(
        "FAILED_PRECONDITION",
        "Worker and control plane speak different versions of the protocol.",
        "Install the same version of tailrace on both.",
    ),
    "POOL_NOT_SERVED": Reason(
        "FAILED_PRECONDITION", "The stage's pool is not one of the worker's.", _WORKER_REPEATS
    ),
    "SLOT_UNKNOWN": Reason(
        "FAILED_PRECONDITION", "The worker did not register this slot.", "Register again."
    ),
    "SLOT_BUSY": Reason(
        "ABORTED", "The slot still holds the lease of another attempt.", _WORKER_REPEATS
    ),
    "LEASE_LOST": Reason(
        "FAILED_PRECONDITION",
        "The lease has expired, or another attempt holds the stage.",
        "Nothing: the worker ends the process, and the stage runs elsewhere.",
    ),
    "EVENTS_MISSING": Reason(
        "FAILED_PRECONDITION",
        "The stage's report comes before the last of its events.",
        _WORKER_REPEATS,
    ),
    "BROKER_UNAVAILABLE": Reason(
        "UNAVAILABLE", "The broker cannot be reached.", "Start the broker; stages wait for it."
    ),
}
"""Reasons of failed calls of workers."""

STAGES: dict[str, Reason] = {
    "STAGE_CRASHED": Reason(
        "INTERNAL",
        "The stage process ended without a result.",
        "Read the last lines of its log; the error carries them.",
    ),
    "STAGE_KILLED": Reason(
        "ABORTED",
        "A signal that the worker did not send ended the stage process.",
        "Look for the sender on the worker's host.",
    ),
    "STAGE_TIMEOUT": Reason(
        "DEADLINE_EXCEEDED",
        "The stage ran longer than its timeout.",
        "Raise `timeout` in the run's [`execution`](run-spec.md#execution).",
    ),
    "OUT_OF_MEMORY": Reason(
        "RESOURCE_EXHAUSTED",
        "The stage process ran out of memory, or over the limit of its slot.",
        "Use a smaller batch, shorter sequences, a smaller model or a pool with more memory; the "
        "limit is [`TAILRACE_STAGE_MEMORY_BYTES`](configuration.md#worker).",
    ),
    "WORKER_FAULT": Reason(
        "UNAVAILABLE",
        "The worker could not execute the stage.",
        "Nothing: another attempt may run on another worker.",
    ),
    "LEASE_EXPIRED": Reason(
        "UNAVAILABLE",
        "The worker sent no heartbeat for a whole lease.",
        "Look at the worker's host and its way to the control plane.",
    ),
    "INVALID_JOB": Reason(
        "FAILED_PRECONDITION",
        "The stage process cannot read its job file.",
        "Install the same version of tailrace on worker and stage process.",
    ),
    "IO_ERROR": Reason(
        "UNAVAILABLE",
        "A file cannot be read or written.",
        "The message names the file; free its disk or mend its permissions.",
    ),
    "INTERNAL": Reason(
        "FAILED_PRECONDITION",
        "The training library has a fault.",
        "Report it with the traceback in the stage's log.",
    ),
    "TRAINING_FAILED": Reason(
        "FAILED_PRECONDITION", "The stage cannot go on.", "The message names the way out."
    ),
    "INVALID_CONFIG": Reason(
        "FAILED_PRECONDITION",
        "Settings do not fit each other, the data or the model.",
        "Change the settings named ([run spec](run-spec.md)).",
    ),
    "INVALID_DATA": Reason(
        "FAILED_PRECONDITION",
        "A dataset, eval set or split cannot be used.",
        "Correct the lines named.",
    ),
    "OVERLONG_EXAMPLES": Reason(
        "FAILED_PRECONDITION",
        "Examples are longer than `max_seq_length`, and `overlong` is `refuse`.",
        "Raise `max_seq_length`, or choose another `overlong` ([run spec](run-spec.md)).",
    ),
    "UNSUPPORTED_MODEL": Reason(
        "FAILED_PRECONDITION",
        "The model's architecture, configuration or weights are not supported.",
        "See what [a model folder](../models.md) must hold.",
    ),
    "MODEL_NOT_FOUND": Reason(
        "FAILED_PRECONDITION",
        "The model is not on the worker and cannot be fetched.",
        "Correct the hub id, or import the model.",
    ),
    "MODEL_HUB_UNREACHABLE": Reason(
        "UNAVAILABLE",
        "The model hub does not answer and the model is not cached.",
        "Import the model, or open the worker's way to the hub.",
    ),
    "INVALID_CHECKPOINT": Reason(
        "FAILED_PRECONDITION",
        "A checkpoint is missing, damaged, or belongs to another training.",
        "Name another checkpoint.",
    ),
    "DIVERGED": Reason(
        "FAILED_PRECONDITION",
        "The loss is no longer a finite number.",
        "Lower the learning rate; the message names the newest good checkpoint.",
    ),
    "NOT_FINITE": Reason(
        "FAILED_PRECONDITION",
        "The model computes values that are not finite numbers, before any training.",
        "Use another model or `dtype: float32`.",
    ),
    "DOES_NOT_FIT": Reason(
        "FAILED_PRECONDITION",
        "The training needs more memory than the slot has.",
        "Use a smaller batch, shorter sequences, `remat`, an adapter or a larger pool.",
    ),
    "DEVICE_UNAVAILABLE": Reason(
        "FAILED_PRECONDITION",
        "The accelerator that the job asks for is missing.",
        "Set [`TAILRACE_ACCELERATOR`](configuration.md#worker), or mend the driver.",
    ),
    "INVALID_OUTPUT": Reason(
        "FAILED_PRECONDITION",
        "The output folder cannot be written or holds something else.",
        "Name another folder.",
    ),
    "ALL_PREDICTIONS_FAILED": Reason(
        "FAILED_PRECONDITION",
        "Every prediction of an evaluation is an error.",
        "Read the errors with `tailrace runs predictions RUN`.",
    ),
    "PREFLIGHT_FAILED": Reason(
        "FAILED_PRECONDITION",
        "The starting model's answers earn no different rewards, or worthless answers earn one.",
        "Read them with `tailrace runs rollouts RUN --step 0`, and change the reward, the model or "
        "the prompts.",
    ),
    "TOO_MANY_JUDGE_ERRORS": Reason(
        "FAILED_PRECONDITION",
        "More verdicts are errors than the judge's `max_error_rate` allows.",
        "Read the errors with `tailrace runs verdicts RUN`, and mend the judge or its server.",
    ),
}
"""Reasons of failed stages and attempts."""
