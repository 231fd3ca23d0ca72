"""Settings of the control plane: the one place that reads its environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tailrace.formats.limits import EVENTS_BYTES
from tailrace.formats.service_url import broker_url, database_url
from tailrace.worker_token import FILE_NAME


class Settings(BaseSettings):
    """Every setting, read from ``TAILRACE_<NAME>``; times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="TAILRACE_", frozen=True)

    database_url: str = "sqlite+aiosqlite:///./.tailrace/tailrace.db"
    """``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/DATABASE`` with libpq's options."""
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    """Most connections at once for reading, and on PostgreSQL for writing."""
    database_statement_cache: bool = True
    """Whether PostgreSQL keeps prepared statements; off behind a pooler such as pgbouncer, which
    ``?pgbouncer=true`` in the URL says as well."""
    broker_url: str = "redis://127.0.0.1:6389/0"
    """Broker: ``amqp://…`` (RabbitMQ) or ``redis://…`` (Valkey)."""
    data_dir: Path = Path("./.tailrace")
    """Where blobs are kept."""
    worker_token_file: Path | None = None
    """File with the secret that workers show, mode 0600; unset means ``worker-token`` in
    ``data_dir``. It is made if it is missing, and read again when it changes."""

    listen: str = "127.0.0.1:7443"
    """``host:port`` of the gRPC server; port 0 takes a free one."""
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """Port of Prometheus' ``/metrics``; unset serves none, 0 takes a free one."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    """Least severity that is logged."""
    shutdown_grace_seconds: float = Field(default=10.0, gt=0)
    """How long calls in flight may still take after SIGTERM."""

    start_patience_seconds: float = Field(default=15.0, ge=0)
    """Longest wait at the start for a database or broker that does not answer."""
    health_seconds: float = Field(default=5.0, gt=0)
    """Interval at which the database and the broker are checked."""

    lease_seconds: float = Field(default=30.0, gt=0)
    """How long a lease lives without heartbeats."""
    worker_expiry_seconds: float = Field(default=24 * 3600.0, gt=0)
    """How long lists show a worker that is offline; its name finds it until it is forgotten."""
    heartbeat_seconds: float | None = Field(default=None, gt=0)
    """How often workers send heartbeats; unset means a third of ``lease_seconds``."""
    poll_seconds: float = Field(default=1.0, gt=0)
    """How often streams and the relay look at the store without being woken."""
    dispatch_grace_seconds: float = Field(default=10.0, ge=0)
    """How long a worker may take to confirm that its chain went on."""
    publish_timeout_seconds: float = Field(default=10.0, gt=0)
    """Longest time one publication may take until the broker confirms it."""
    republish_seconds: float = Field(default=15.0, gt=0)
    """Wait before an unclaimed publication is repeated; doubles from then on."""
    republish_max_seconds: float = Field(default=900.0, gt=0)
    """Longest wait between two publications of one stage."""
    admission_floor: int = Field(default=100, ge=1)
    """First stages per pool that may be published and unclaimed, however few slots it has."""

    max_message_bytes: int = Field(default=EVENTS_BYTES, ge=1024 * 1024)
    """Largest gRPC message that is taken; larger ones get RESOURCE_EXHAUSTED."""
    max_blob_bytes: int = Field(default=64 * 1024**3, ge=1)
    """Largest file of an artifact."""
    min_free_bytes: int = Field(default=1024**3, ge=0)
    """Space on the disk of ``data_dir`` that uploads and imports leave free."""
    max_dataset_bytes: int = Field(default=16 * 1024**3, ge=1)
    """Largest dataset that is imported."""
    max_artifact_bytes: int = Field(default=1024**4, ge=1)
    """Largest artifact, all its files together."""
    max_unfinished_runs: int | None = Field(default=None, ge=1)
    """Most runs that are queued or running, of all callers together; unset for any number."""
    max_runs_per_label: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Most unfinished runs with one value of a label, as JSON: ``{"team": 20}``. Those without the
    label count together as well. A label is what the caller says it is."""
    max_open_streams: int = Field(default=2000, ge=1)
    """Most StreamLogs, StreamMetrics and WatchRun calls that are open at once."""
    max_open_uploads: int = Field(default=256, ge=1)
    """Most uploads and imports that are open at once."""
    upload_idle_seconds: float = Field(default=60.0, gt=0)
    """Longest pause between two messages of an upload or import."""
    upload_expiry_seconds: float = Field(default=24 * 3600.0, gt=0)
    """Age from which an unfinished upload is dropped."""

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: str) -> str:
        return database_url(value)

    @field_validator("broker_url")
    @classmethod
    def _broker_url(cls, value: str) -> str:
        return broker_url(value)

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})", value)
        if match is None or int(match[2]) > 65_535:
            raise ValueError("must be host:port, such as 127.0.0.1:7443 or [::]:7443")
        return value

    @model_validator(mode="after")
    def _beats_fit_into_a_lease(self) -> Self:
        if self.heartbeat_interval > self.lease_seconds / 2:
            raise ValueError(
                "TAILRACE_HEARTBEAT_SECONDS must be at most half of TAILRACE_LEASE_SECONDS: one "
                "lost message would cost the lease"
            )
        return self

    @property
    def token_file(self) -> Path:
        """File of the worker token."""
        return self.worker_token_file or self.data_dir / FILE_NAME

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between a worker's heartbeats."""
        return self.heartbeat_seconds or self.lease_seconds / 3
