"""Settings of a worker: the only module that reads its environment."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tailrace.access import Access
from tailrace.broker_tls import broker_tls
from tailrace.channel import DEFAULT_SERVER, server_address
from tailrace.formats.endpoint_access import read_place
from tailrace.formats.limits import MAX_SLOTS
from tailrace.formats.service_url import broker_url
from tailrace.formats.spec.run_spec import RESOURCE_ID
from tailrace.tls_files import TlsFiles
from tailrace.worker_token import FILE_NAME, WorkerToken
from workers.process.environment import SETTINGS_PREFIX

_GIB = 1024**3

_PUBLIC = frozenset(
    {
        "server",
        "tls",
        "ca_file",
        "cert_file",
        "insecure",
        "worker_token_file",
        "pools",
        "worker_name",
        "accelerator",
        "slots",
        "work_dir",
        "cache_dir",
        "cache_max_bytes",
        "spool_max_bytes",
        "log_lines_per_second",
        "grace_seconds",
        "drain_seconds",
        "acquire_seconds",
        "warm_start",
        "log_level",
    }
)
"""Settings that may be shown to anyone. URLs with passwords, keys and commands are not included."""


class Settings(BaseSettings):
    """Settings, each read from ``TAILRACE_<NAME>``; times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=SETTINGS_PREFIX, frozen=True)

    server: str = DEFAULT_SERVER
    """``host:port`` of the control plane's gRPC server."""
    tls: bool = False
    """True for TLS with a control plane whose certificate is from a public authority; the files
    below imply TLS."""
    ca_file: Path | None = None
    """PEM file with the authorities to trust for TLS; read again when it changes, like the next
    two."""
    cert_file: Path | None = None
    """PEM file with the worker's certificate, for a control plane with ``TAILRACE_WORKER_BIND``."""
    key_file: Path | None = None
    """PEM file with its private key, mode 0600."""
    insecure: bool = False
    """True to send the worker token in plaintext to a control plane on another machine."""
    worker_token_file: Path = Path("./.tailrace") / FILE_NAME
    """File with the worker token that the control plane created, mode 0600; read again after
    changes."""
    broker_url: str = "redis://127.0.0.1:6389/0"
    """Celery broker: ``amqp://…`` or ``amqps://…`` (RabbitMQ), ``redis://…`` or ``rediss://…``
    (Valkey); the schemes with an s use TLS."""
    broker_ca_file: Path | None = None
    """PEM file with the authorities that vouch for an ``amqps://`` or ``rediss://`` broker; unset
    for those of the system. The certificate must name the URL's host."""
    broker_cert_file: Path | None = None
    """PEM file with the client's certificate, for a broker that requires one."""
    broker_key_file: Path | None = None
    """PEM file with its private key, mode 0600."""
    pools: Annotated[tuple[str, ...], NoDecode] = ("cpu",)
    """Pools that the worker serves, separated by commas."""
    worker_name: str = ""
    """Unique name of this process, in the form of a resource id. If empty, the name is derived from
    the host's name and stored in ``work_dir`` (:mod:`workers.instance`)."""

    accelerator: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """Devices of the slots; ``auto`` takes GPUs, or else TPU chips, or else CPU cores."""
    slots: int = Field(default=0, ge=0, le=MAX_SLOTS)
    """Number of slots; 0 means one per GPU, or one for all TPU chips, or one for all CPU cores."""

    work_dir: Path = Path("./.tailrace/work")
    """Folder for the files of running attempts."""
    cache_dir: Path = Path("./.tailrace/cache")
    """Folder of cached inputs and compiled programs, which attempts share."""
    cache_max_bytes: int = Field(default=50 * _GIB, ge=0)
    """Size of cached inputs above which the least recently used ones are dropped."""
    spool_max_bytes: int = Field(default=_GIB, ge=1024 * 1024)
    """Maximum size of an attempt's unacknowledged events on disk; the stage process then waits."""

    log_lines_per_second: float = Field(default=2000.0, gt=0)
    """Log lines of one attempt that are stored per second; a burst may have those of ten
    seconds."""

    grace_seconds: float = Field(default=30.0, gt=0)
    """Time that a stage process has to stop before it is killed."""
    drain_seconds: float = Field(default=120.0, gt=0)
    """Time that a draining worker has to upload the files of its stages and hand them back."""
    acquire_seconds: float = Field(default=120.0, gt=0)
    """Time for which a delivery waits for a control plane that does not answer its request for a
    lease. The delivery is then dropped, and the control plane publishes the stage again."""
    stage_command: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(sys.executable, "-m", "training.stage"), min_length=1
    )
    """Command of the stage process, quoted as in a shell; job file and descriptor are appended."""
    warm_start: bool = True
    """True to keep a prewarmed stage process per slot, which has imported JAX, so that TRAIN and
    INFER start sooner. It costs about 250 MB of memory per slot and no accelerator memory. A custom
    ``stage_command`` must support ``-`` (:mod:`tailrace.formats.stage_protocol`)."""
    stage_memory_bytes: int = Field(default=0, ge=0)
    """Memory limit of a stage and its children, above which they are killed; accelerator memory
    does not count. 0 means an equal share for each slot of nine tenths of the host's memory, or the
    control group's if that is less: several workers on one host need an explicit limit."""
    stage_environment: Annotated[tuple[str, ...], NoDecode] = ()
    """Names of additional variables for stage processes, separated by commas. By default they get
    only those of :mod:`workers.process.environment`: no password, cloud key or hub token."""
    judge_endpoints: Annotated[tuple[str, ...], NoDecode] = ()
    """Servers (``host:port``, separated by commas) that judges may call although they are not
    public or do not use https. ``host:port@project`` is for the runs of one project alone. By
    default judges reach only public addresses over https."""
    judge_keys_file: Path | None = None
    """JSON file, mode 0600, with the keys of judging endpoints, each for one host. It is read again
    for each JUDGE stage: ``{"TAILRACE_JUDGE_KEY_EXAMPLE": {"host": "api.example.com", "key":
    "…"}}``. The port is 443 unless ``host`` names another; ``"projects": ["vision"]`` in an entry
    keeps its key for the runs of these projects."""
    judge_proxy: str | None = None
    """HTTP proxy (``host:port``) through which judges reach servers other than ``judge_endpoints``.
    Proxy variables of the environment have no effect."""
    worker_metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """Port of ``/metrics`` for Prometheus; unset disables it, 0 takes a free port."""
    worker_metrics_host: str = "127.0.0.1"
    """Address of ``/metrics``; ``0.0.0.0`` lets other hosts read it."""
    worker_metrics_cert_file: Path | None = None
    """PEM file with a server's certificate, for TLS on ``/metrics``; unset for plaintext."""
    worker_metrics_key_file: Path | None = None
    """PEM file with its private key, mode 0600."""
    worker_metrics_ca_file: Path | None = None
    """PEM file with the authorities of which readers of ``/metrics`` must present a certificate;
    unset for none."""
    worker_metrics_token_file: Path | None = None
    """File with the bearer token that readers of ``/metrics`` must present, mode 0600; unset for
    none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest severity in the worker's own log."""

    @field_validator("pools", "stage_environment", "judge_endpoints", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "ca_file",
        "cert_file",
        "key_file",
        "broker_ca_file",
        "broker_cert_file",
        "broker_key_file",
        "worker_metrics_cert_file",
        "worker_metrics_key_file",
        "worker_metrics_ca_file",
        "worker_metrics_token_file",
        mode="before",
    )
    @classmethod
    def _unset_if_empty(cls, value: object) -> object:
        return value or None

    @field_validator("stage_command", mode="before")
    @classmethod
    def _split_command(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @field_validator("pools")
    @classmethod
    def _pool_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("must name at least one pool, and none twice")
        for name in value:
            if not re.fullmatch(RESOURCE_ID, name):
                raise ValueError(
                    f"{name!r} is not a pool name: must be 1-63 of a-z, 0-9, '-', a letter first"
                )
        return value

    @field_validator("stage_environment")
    @classmethod
    def _variable_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is not the name of an environment variable")
            if name.startswith(SETTINGS_PREFIX):
                raise ValueError(
                    f"{name} is a setting of the worker, which stage processes cannot get"
                )
        return value

    @field_validator("judge_endpoints")
    @classmethod
    def _places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_granted_place(place) for place in value)

    @field_validator("judge_proxy")
    @classmethod
    def _proxy(cls, value: str | None) -> str | None:
        return read_place(value) if value else None

    @field_validator("broker_url")
    @classmethod
    def _broker_url(cls, value: str) -> str:
        return broker_url(value)

    @field_validator("server")
    @classmethod
    def _server_address(cls, value: str) -> str:
        return server_address(value)

    @field_validator("worker_name")
    @classmethod
    def _worker_name(cls, value: str) -> str:
        if value and not re.fullmatch(RESOURCE_ID, value):
            raise ValueError("must be 1-63 of a-z, 0-9, '-', a letter first")
        return value

    @model_validator(mode="after")
    def _certificate_is_complete(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("TAILRACE_CERT_FILE and TAILRACE_KEY_FILE must be set together")
        certificate, key = self.worker_metrics_cert_file, self.worker_metrics_key_file
        if (certificate is None) != (key is None):
            raise ValueError(
                "TAILRACE_WORKER_METRICS_CERT_FILE and TAILRACE_WORKER_METRICS_KEY_FILE must be "
                "set together"
            )
        if self.worker_metrics_ca_file is not None and certificate is None:
            raise ValueError(
                "TAILRACE_WORKER_METRICS_CA_FILE needs TAILRACE_WORKER_METRICS_CERT_FILE"
            )
        return self

    @model_validator(mode="after")
    def _broker_files_fit_the_url(self) -> Self:
        broker_tls(self.broker_url, self.broker_files)
        return self

    def access(self, token: WorkerToken) -> Access:
        """Return the access to the control plane."""
        files = TlsFiles(self.ca_file, self.cert_file, self.key_file)
        has_tls = self.tls or files != TlsFiles()
        return Access(
            tls=files if has_tls else None, token=lambda: token.value, insecure=self.insecure
        )

    def places_of(self, project: str) -> list[str]:
        """Return the places of ``judge_endpoints`` that judges of a project's runs may call."""
        granted = [entry.partition("@") for entry in self.judge_endpoints]
        return [place for place, _, owner in granted if owner in ("", project)]

    def public(self) -> dict[str, Any]:
        """Return the settings that may be shown to anyone, as plain data."""
        return self.model_dump(mode="json", include=set(_PUBLIC))

    @property
    def metrics_tls(self) -> TlsFiles | None:
        """Files of ``/metrics``; ``None`` for plaintext."""
        if self.worker_metrics_cert_file is None:
            return None
        return TlsFiles(
            self.worker_metrics_ca_file,
            self.worker_metrics_cert_file,
            self.worker_metrics_key_file,
        )

    @property
    def broker_files(self) -> TlsFiles:
        """TLS files of the connection to the broker."""
        return TlsFiles(self.broker_ca_file, self.broker_cert_file, self.broker_key_file)

    @property
    def resource_name(self) -> str:
        """Resource name of the worker, ``workers/{worker}``."""
        return f"workers/{self.worker_name}"


def _granted_place(text: str) -> str:
    """Return ``host:port`` or ``host:port@project`` in one notation; raise ``ValueError``."""
    place, at, project = text.partition("@")
    if at and not re.fullmatch(RESOURCE_ID, project):
        raise ValueError(f"{text!r} is not HOST:PORT or HOST:PORT@PROJECT")
    return f"{read_place(place)}{at}{project}"
