"""Initial schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "artifacts",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column(
            "size_bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.PrimaryKeyConstraint("project", "digest", name=op.f("pk_artifacts")),
    )
    op.create_table(
        "runs",
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=63), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("resolved_spec", sa.JSON(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "QUEUED",
                "RUNNING",
                "CANCELLING",
                "SUCCEEDED",
                "FAILED",
                "CANCELLED",
                name="run_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("revision", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_runs")),
        sa.UniqueConstraint("project", "run_id", name=op.f("uq_runs_project_run_id")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_runs_create_time", ["project", "create_time", "uid"], unique=False
        )
        batch_op.create_index(
            "ix_runs_state", ["project", "state", "create_time", "uid"], unique=False
        )

    op.create_table(
        "workers",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("worker_id", sa.String(length=63), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "ONLINE",
                "DRAINING",
                "OFFLINE",
                name="worker_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("hostname", sa.String(length=256), nullable=False),
        sa.Column("pools", sa.JSON(), nullable=False),
        sa.Column("slots", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("protocol_version", sa.Integer(), nullable=False),
        sa.Column(
            "heartbeats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("register_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project", "worker_id", name=op.f("pk_workers")),
    )
    op.create_table(
        "artifact_references",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("run_uid", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=63), nullable=False),
        sa.Column("stage", sa.String(length=63), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "dataset",
                "split",
                "checkpoint",
                "model",
                "metrics",
                "predictions",
                "verdicts",
                name="artifact_kind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("step", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project", "digest"],
            ["artifacts.project", "artifacts.digest"],
            name=op.f("fk_artifact_references_project_artifacts"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_references")),
        sa.UniqueConstraint(
            "project",
            "run_uid",
            "stage",
            "attempt",
            "kind",
            "step",
            "digest",
            name="uq_artifact_references_use",
        ),
    )
    with op.batch_alter_table("artifact_references", schema=None) as batch_op:
        batch_op.create_index(
            "ix_artifact_references_digest", ["project", "digest", "id"], unique=False
        )
        batch_op.create_index(
            "ix_artifact_references_run", ["project", "run_uid", "id"], unique=False
        )

    op.create_table(
        "datasets",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("dataset_id", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column(
            "size_bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "trace_count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "prompt_count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("artifact_digest", sa.String(length=64), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project", "artifact_digest"],
            ["artifacts.project", "artifacts.digest"],
            name=op.f("fk_datasets_project_artifacts"),
        ),
        sa.PrimaryKeyConstraint("project", "dataset_id", "version", name=op.f("pk_datasets")),
    )
    op.create_table(
        "models",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("architecture", sa.String(length=128), nullable=False),
        sa.Column("artifact_digest", sa.String(length=64), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project", "artifact_digest"],
            ["artifacts.project", "artifacts.digest"],
            name=op.f("fk_models_project_artifacts"),
        ),
        sa.PrimaryKeyConstraint("project", "model_id", name=op.f("pk_models")),
    )
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.create_index(
            "ix_models_create_time", ["project", "create_time", "model_id"], unique=False
        )

    op.create_table(
        "predictions",
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("eval_set", sa.String(length=128), nullable=False),
        sa.Column("example_id", sa.String(length=128), nullable=False),
        sa.Column("model_role", sa.String(length=32), nullable=False),
        sa.Column("sample", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_uid"], ["runs.uid"], name=op.f("fk_predictions_run_uid_runs")
        ),
        sa.PrimaryKeyConstraint(
            "run_uid", "eval_set", "example_id", "model_role", "sample", name=op.f("pk_predictions")
        ),
    )
    op.create_table(
        "requests",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("method", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_uid"], ["runs.uid"], name=op.f("fk_requests_run_uid_runs")),
        sa.PrimaryKeyConstraint("project", "method", "request_id", name=op.f("pk_requests")),
    )
    op.create_table(
        "run_labels",
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(["run_uid"], ["runs.uid"], name=op.f("fk_run_labels_run_uid_runs")),
        sa.PrimaryKeyConstraint("run_uid", "name", name=op.f("pk_run_labels")),
    )
    with op.batch_alter_table("run_labels", schema=None) as batch_op:
        batch_op.create_index(
            "ix_run_labels_value", ["project", "name", "value", "run_uid"], unique=False
        )

    op.create_table(
        "stages",
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("stage_id", sa.String(length=63), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "train",
                "infer",
                "judge",
                name="stage_kind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "PENDING",
                "QUEUED",
                "RUNNING",
                "SUCCEEDED",
                "FAILED",
                "CANCELLED",
                "SKIPPED",
                name="stage_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("progress", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("cached_from", sa.String(length=256), nullable=False),
        sa.Column("queue_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["run_uid"], ["runs.uid"], name=op.f("fk_stages_run_uid_runs")),
        sa.PrimaryKeyConstraint("run_uid", "stage_id", name=op.f("pk_stages")),
    )
    op.create_table(
        "transitions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage_id", sa.String(length=63), nullable=False),
        sa.Column("from_state", sa.String(length=32), nullable=False),
        sa.Column("to_state", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_uid"], ["runs.uid"], name=op.f("fk_transitions_run_uid_runs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transitions")),
    )
    with op.batch_alter_table("transitions", schema=None) as batch_op:
        batch_op.create_index("ix_transitions_run", ["project", "run_uid", "id"], unique=False)

    op.create_table(
        "verdicts",
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("eval_set", sa.String(length=128), nullable=False),
        sa.Column("example_id", sa.String(length=128), nullable=False),
        sa.Column("model_role", sa.String(length=32), nullable=False),
        sa.Column("sample", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("judge", sa.String(length=63), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_uid"], ["runs.uid"], name=op.f("fk_verdicts_run_uid_runs")),
        sa.PrimaryKeyConstraint(
            "run_uid",
            "eval_set",
            "example_id",
            "model_role",
            "sample",
            "judge",
            name=op.f("pk_verdicts"),
        ),
    )
    op.create_table(
        "attempts",
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("stage_id", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "RUNNING",
                "SUCCEEDED",
                "FAILED",
                "EXPIRED",
                "RELEASED",
                "CANCELLED",
                name="attempt_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("worker_id", sa.String(length=63), nullable=False),
        sa.Column("slot", sa.String(length=63), nullable=False),
        sa.Column("lease_salt", sa.String(length=32), nullable=False),
        sa.Column("lease_digest", sa.String(length=64), nullable=False),
        sa.Column(
            "heartbeats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "last_event", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "log_lines", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("log_digest", sa.String(length=64), nullable=False),
        sa.Column(
            "metric_points", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("metric_digest", sa.String(length=64), nullable=False),
        sa.Column(
            "checkpoint_step", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_uid", "stage_id"],
            ["stages.run_uid", "stages.stage_id"],
            name=op.f("fk_attempts_run_uid_stages"),
        ),
        sa.PrimaryKeyConstraint("run_uid", "stage_id", "number", name=op.f("pk_attempts")),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index(
            "ix_attempts_running",
            ["project", "worker_id"],
            unique=False,
            postgresql_where=sa.text("state = 'RUNNING'"),
            sqlite_where=sa.text("state = 'RUNNING'"),
        )

    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("stage_id", sa.String(length=63), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("first", sa.Boolean(create_constraint=True, name="first"), nullable=False),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("publications", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("claim", sa.String(length=32), nullable=False),
        sa.Column("claim_end", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_uid", "stage_id"],
            ["stages.run_uid", "stages.stage_id"],
            name=op.f("fk_outbox_run_uid_stages"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("project", "run_uid", "stage_id", name="uq_outbox_stage"),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index("ix_outbox_due", ["due_time", "id"], unique=False)

    op.create_table(
        "chunks",
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("stage_id", sa.String(length=63), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "channel",
            sa.Enum(
                "logs",
                "metrics",
                name="channel",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "last_sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "first_sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_uid", "stage_id", "attempt"],
            ["attempts.run_uid", "attempts.stage_id", "attempts.number"],
            name=op.f("fk_chunks_run_uid_attempts"),
        ),
        sa.PrimaryKeyConstraint(
            "run_uid", "stage_id", "attempt", "channel", "last_sequence", name=op.f("pk_chunks")
        ),
    )


def downgrade() -> None:
    op.drop_table("chunks")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index("ix_outbox_due")

    op.drop_table("outbox")
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_attempts_running",
            postgresql_where=sa.text("state = 'RUNNING'"),
            sqlite_where=sa.text("state = 'RUNNING'"),
        )

    op.drop_table("attempts")
    op.drop_table("verdicts")
    with op.batch_alter_table("transitions", schema=None) as batch_op:
        batch_op.drop_index("ix_transitions_run")

    op.drop_table("transitions")
    op.drop_table("stages")
    with op.batch_alter_table("run_labels", schema=None) as batch_op:
        batch_op.drop_index("ix_run_labels_value")

    op.drop_table("run_labels")
    op.drop_table("requests")
    op.drop_table("predictions")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_index("ix_models_create_time")

    op.drop_table("models")
    op.drop_table("datasets")
    with op.batch_alter_table("artifact_references", schema=None) as batch_op:
        batch_op.drop_index("ix_artifact_references_run")
        batch_op.drop_index("ix_artifact_references_digest")

    op.drop_table("artifact_references")
    op.drop_table("workers")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index("ix_runs_state")
        batch_op.drop_index("ix_runs_create_time")

    op.drop_table("runs")
    op.drop_table("artifacts")
