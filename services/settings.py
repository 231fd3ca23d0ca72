"""Settings of the control plane, the only module that reads its environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tailrace.access import is_loopback
from tailrace.broker_tls import broker_tls
from tailrace.formats.limits import EVENTS_BYTES
from tailrace.formats.service_url import broker_url, database_url
from tailrace.tls_files import TlsFiles
from tailrace.worker_token import FILE_NAME


class Settings(BaseSettings):
    """Settings, each read from ``TAILRACE_<NAME>``; times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="TAILRACE_", frozen=True)

    database_url: str = "sqlite+aiosqlite:///./.tailrace/tailrace.db"
    """``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/DATABASE`` with libpq's options."""
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    """Maximum number of connections for reading, and on PostgreSQL for writing."""
    database_statement_cache: bool = True
    """Prepared statements on PostgreSQL; turn off behind a pooler such as pgbouncer, as
    ``?pgbouncer=true`` in the URL does, too."""
    broker_url: str = "redis://127.0.0.1:6389/0"
    """Broker: ``amqp://…`` or ``amqps://…`` (RabbitMQ), ``redis://…`` or ``rediss://…`` (Valkey);
    the schemes with an s use TLS."""
    broker_ca_file: Path | None = None
    """PEM file with the authorities that vouch for an ``amqps://`` or ``rediss://`` broker; unset
    for those of the system. The certificate must name the URL's host."""
    broker_cert_file: Path | None = None
    """PEM file with the client's certificate, for a broker that requires one."""
    broker_key_file: Path | None = None
    """PEM file with its private key, mode 0600."""
    data_dir: Path = Path("./.tailrace")
    """Folder of the stored blobs."""
    worker_token_file: Path | None = None
    """File with the secret that workers present, mode 0600; unset means ``worker-token`` in
    ``data_dir``. Created if missing, and read again when it changes."""

    listen: str = "127.0.0.1:7443"
    """``host:port`` of the gRPC server; port 0 chooses a free one."""
    tls_cert_file: Path | None = None
    """PEM file with the certificate of ``listen``, then those of intermediate authorities; unset
    for plaintext. Certificate and key are read again when they change."""
    tls_key_file: Path | None = None
    """PEM file with the certificate's private key, mode 0600."""
    worker_bind: str | None = None
    """``host:port`` of a second gRPC server, for workers only, which requires a client certificate;
    ``listen`` then refuses workers. It needs TLS."""
    worker_ca_file: Path | None = None
    """PEM file with the authorities whose certificates admit workers to ``worker_bind``."""
    require_tokens: bool | None = None
    """True if clients must present an API token; unset means true unless ``listen`` is on loopback,
    where every user of this machine is trusted, or ``insecure`` is set."""
    oidc_file: Path | None = None
    """JSON file with the OpenID provider whose tokens are accepted, and the roles that its claims
    give; unset accepts API tokens alone. Read at the start."""
    plaintext_behind_proxy: bool = False
    """True to listen without TLS beyond loopback, because a proxy in front of it speaks TLS."""
    insecure: bool = False
    """True to listen beyond loopback without TLS, and without tokens unless ``require_tokens`` is
    set."""
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """Port of Prometheus' ``/metrics``; unset serves none, 0 chooses a free one. It speaks TLS, by
    the certificate of ``listen``, if that does."""
    metrics_token_file: Path | None = None
    """File with the bearer token that readers of ``/metrics`` must present, mode 0600; unset for
    none."""
    metrics_ca_file: Path | None = None
    """PEM file with the authorities of which readers of ``/metrics`` must present a certificate;
    unset for none. It needs TLS."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    """Lowest severity that is logged."""
    shutdown_grace_seconds: float = Field(default=10.0, gt=0)
    """Time for calls in flight to finish after SIGTERM."""

    start_patience_seconds: float = Field(default=15.0, ge=0)
    """Maximum wait at the start for a database or broker that does not answer."""
    health_seconds: float = Field(default=5.0, gt=0)
    """Interval at which the database and the broker are checked."""

    lease_seconds: float = Field(default=30.0, gt=0)
    """Lifetime of a lease without heartbeats."""
    worker_expiry_seconds: float = Field(default=24 * 3600.0, gt=0)
    """Time for which lists include an offline worker; afterwards its name still finds it."""
    heartbeat_seconds: float | None = Field(default=None, gt=0)
    """Interval of workers' heartbeats; unset means a third of ``lease_seconds``."""
    poll_seconds: float = Field(default=1.0, gt=0)
    """Interval at which streams and the relay read the store without a wake-up."""
    dispatch_grace_seconds: float = Field(default=10.0, ge=0)
    """Time for a worker to confirm that its chain published the next stage."""
    publish_timeout_seconds: float = Field(default=10.0, gt=0)
    """Maximum time until the broker confirms a publication."""
    republish_seconds: float = Field(default=15.0, gt=0)
    """Delay before an unclaimed publication is repeated; doubles each time."""
    republish_max_seconds: float = Field(default=900.0, gt=0)
    """Maximum delay between two publications of a stage."""
    admission_floor: int = Field(default=100, ge=1)
    """Minimum limit of published, unclaimed first stages per pool, however few slots it has."""

    max_message_bytes: int = Field(default=EVENTS_BYTES, ge=1024 * 1024)
    """Maximum size of a gRPC message; larger ones get RESOURCE_EXHAUSTED."""
    max_blob_bytes: int = Field(default=64 * 1024**3, ge=1)
    """Maximum size of a file of an artifact."""
    min_free_bytes: int = Field(default=1024**3, ge=0)
    """Space on the disk of ``data_dir`` that uploads and imports leave free."""
    max_dataset_bytes: int = Field(default=16 * 1024**3, ge=1)
    """Maximum size of an imported dataset."""
    max_artifact_bytes: int = Field(default=1024**4, ge=1)
    """Maximum size of an artifact, all files together."""
    max_unfinished_runs: int | None = Field(default=None, ge=1)
    """Maximum number of queued and running runs of a project; unset for no limit. This and the next
    limits of a project are defaults: `tailrace quotas set` sets others for one project."""
    max_runs_per_label: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Maximum number of unfinished runs per value of a label, as JSON: ``{"team": 20}``. Runs
    without the label count together as well. Labels are not verified: the caller chooses them."""
    max_running_runs: int | None = Field(default=None, ge=1)
    """Maximum number of a project's runs from the publication of their first stage to their end;
    further runs wait. Unset for no limit."""
    max_stored_bytes: int | None = Field(default=None, ge=1)
    """Maximum size of a project's artifacts, all together; unset for no limit."""
    max_requests_per_second: int | None = Field(default=None, ge=1)
    """Maximum rate of a project's calls to one control plane, with bursts of two seconds' worth;
    unset for no limit. Workers are not limited."""
    max_caller_requests_per_second: int | None = Field(default=None, ge=1)
    """Maximum rate of the calls of each caller of a project to one control plane, likewise."""
    max_project_streams: int | None = Field(default=None, ge=1)
    """Maximum number of a project's open server streams to one control plane; unset for no
    limit."""
    max_upload_bytes: int | None = Field(default=None, ge=1)
    """Maximum size of a project's unfinished uploads and imports to one control plane, all
    together; unset for no limit."""
    max_open_streams: int = Field(default=2000, ge=1)
    """Maximum number of open StreamLogs, StreamMetrics and WatchRun calls."""
    max_stream_seconds: float = Field(default=3600.0, gt=0)
    """Maximum age of a followed stream and of a connection, so that replaced certificates and
    changed rights take effect. Clients and workers continue at their cursor."""
    max_open_uploads: int = Field(default=256, ge=1)
    """Maximum number of open uploads and imports."""
    upload_idle_seconds: float = Field(default=60.0, gt=0)
    """Maximum pause between two messages of an upload or import."""
    upload_expiry_seconds: float = Field(default=24 * 3600.0, gt=0)
    """Age from which an unfinished upload is dropped."""
    audit_retention_days: int | None = Field(default=None, ge=1)
    """Age in days from which events of the audit log are deleted; unset keeps all."""

    @field_validator(
        "broker_ca_file",
        "broker_cert_file",
        "broker_key_file",
        "metrics_ca_file",
        "metrics_token_file",
        mode="before",
    )
    @classmethod
    def _unset_if_empty(cls, value: object) -> object:
        return value or None

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: str) -> str:
        return database_url(value)

    @field_validator("broker_url")
    @classmethod
    def _broker_url(cls, value: str) -> str:
        return broker_url(value)

    @field_validator("listen", "worker_bind")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is None:
            return None
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

    @model_validator(mode="after")
    def _broker_files_fit_the_url(self) -> Self:
        broker_tls(self.broker_url, self.broker_files)
        return self

    @model_validator(mode="after")
    def _tls_files_are_complete(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(
                "TAILRACE_TLS_CERT_FILE and TAILRACE_TLS_KEY_FILE must be set together"
            )
        if self.metrics_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("TAILRACE_METRICS_CA_FILE needs TAILRACE_TLS_CERT_FILE")
        if self.worker_bind is not None and None in (self.tls_cert_file, self.worker_ca_file):
            raise ValueError(
                "TAILRACE_WORKER_BIND needs TAILRACE_TLS_CERT_FILE, TAILRACE_TLS_KEY_FILE and "
                "TAILRACE_WORKER_CA_FILE: `tailrace certs init` makes all of them"
            )
        return self

    @model_validator(mode="after")
    def _is_protected_beyond_loopback(self) -> Self:
        if is_loopback(self.listen) or self.insecure:
            return self
        if self.tls_cert_file is None and not self.plaintext_behind_proxy:
            raise ValueError(
                f"TAILRACE_LISTEN={self.listen} can be reached from other machines and needs TLS: "
                "set TAILRACE_TLS_CERT_FILE and TAILRACE_TLS_KEY_FILE (`tailrace certs init` makes "
                "both), or TAILRACE_PLAINTEXT_BEHIND_PROXY=true if a proxy with TLS is in front of "
                "it, or TAILRACE_INSECURE=true for neither TLS nor tokens"
            )
        if self.require_tokens is False:
            raise ValueError(
                f"TAILRACE_LISTEN={self.listen} can be reached from other machines, so "
                "TAILRACE_REQUIRE_TOKENS cannot be false: unset it, or set TAILRACE_INSECURE=true"
            )
        return self

    @property
    def tokens_required(self) -> bool:
        """True if clients must present an API token."""
        if self.require_tokens is not None:
            return self.require_tokens
        return not is_loopback(self.listen) and not self.insecure

    @property
    def tls(self) -> TlsFiles | None:
        """Certificate and key of the servers; ``None`` for plaintext."""
        if self.tls_cert_file is None:
            return None
        return TlsFiles(None, self.tls_cert_file, self.tls_key_file)

    @property
    def broker_files(self) -> TlsFiles:
        """TLS files of the connection to the broker."""
        return TlsFiles(self.broker_ca_file, self.broker_cert_file, self.broker_key_file)

    @property
    def worker_tls(self) -> TlsFiles | None:
        """Files of the server for workers; ``None`` without one."""
        if self.worker_bind is None:
            return None
        return TlsFiles(self.worker_ca_file, self.tls_cert_file, self.tls_key_file)

    @property
    def metrics_tls(self) -> TlsFiles | None:
        """Files of ``/metrics``; ``None`` for plaintext."""
        if self.tls_cert_file is None:
            return None
        return TlsFiles(self.metrics_ca_file, self.tls_cert_file, self.tls_key_file)

    @property
    def token_file(self) -> Path:
        """File of the worker token."""
        return self.worker_token_file or self.data_dir / FILE_NAME

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between a worker's heartbeats."""
        return self.heartbeat_seconds or self.lease_seconds / 3
