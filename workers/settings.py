"""Settings of a worker: the one place that reads its environment."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tailrace.channel import DEFAULT_SERVER, server_address
from tailrace.formats.endpoint_access import read_place
from tailrace.formats.limits import MAX_SLOTS
from tailrace.formats.service_url import broker_url
from tailrace.formats.spec.run_spec import RESOURCE_ID
from tailrace.worker_token import FILE_NAME
from workers.process.environment import SETTINGS_PREFIX

_GIB = 1024**3

_PUBLIC = frozenset(
    {
        "server",
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
"""Settings that anybody may see. URLs with passwords, keys and commands are not among them."""


class Settings(BaseSettings):
    """Every setting, read from ``TAILRACE_<NAME>``; times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=SETTINGS_PREFIX, frozen=True)

    server: str = DEFAULT_SERVER
    """``host:port`` of the control plane's gRPC server."""
    worker_token_file: Path = Path("./.tailrace") / FILE_NAME
    """File with the secret that the control plane made, mode 0600; read again when it changes."""
    broker_url: str = "redis://127.0.0.1:6389/0"
    """Celery broker: ``amqp://…`` (RabbitMQ) or ``redis://…`` (Valkey)."""
    pools: Annotated[tuple[str, ...], NoDecode] = ("cpu",)
    """Pools it serves, separated by commas."""
    worker_name: str = ""
    """Unique name of this process, in the form of a resource id. If it is empty, ``work_dir`` keeps
    one that is made from the host's name (:mod:`workers.instance`)."""

    accelerator: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """What slots are made of; ``auto`` takes GPUs, else TPU chips, else CPU cores."""
    slots: int = Field(default=0, ge=0, le=MAX_SLOTS)
    """Number of slots; 0 means one per GPU, one for all TPU chips, one for all CPU cores."""

    work_dir: Path = Path("./.tailrace/work")
    """Where attempts have their folders while they run."""
    cache_dir: Path = Path("./.tailrace/cache")
    """Where inputs and compiled programs are kept between attempts."""
    cache_max_bytes: int = Field(default=50 * _GIB, ge=0)
    """Size from which the least recently used cached inputs are dropped."""
    spool_max_bytes: int = Field(default=_GIB, ge=1024 * 1024)
    """Unacknowledged events of one attempt on disk; beyond it the stage process has to wait."""

    log_lines_per_second: float = Field(default=2000.0, gt=0)
    """Log lines of one attempt that are kept; ten seconds' worth may come at once."""

    grace_seconds: float = Field(default=30.0, gt=0)
    """How long a stage process may take to stop before it is killed."""
    drain_seconds: float = Field(default=120.0, gt=0)
    """How long a worker that drains may take to upload and hand back what it executes."""
    acquire_seconds: float = Field(default=120.0, gt=0)
    """How long to ask a control plane that does not answer for a delivery's lease; the delivery
    is then dropped, and the control plane publishes the stage again."""
    stage_command: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(sys.executable, "-m", "training.stage"), min_length=1
    )
    """The stage process; job file and events descriptor are appended. Quoted as in a shell."""
    warm_start: bool = True
    """Whether each slot keeps a stage process in waiting that has imported JAX, so that TRAIN and
    INFER start sooner. It costs about 250 MB of memory per slot, and no accelerator memory. A
    ``stage_command`` of one's own must know ``-`` (:mod:`tailrace.formats.stage_protocol`)."""
    stage_memory_bytes: int = Field(default=0, ge=0)
    """Memory that a stage and its children may hold, beyond which they are killed; accelerators'
    memory does not count. 0 means the host's, or the control group's where this is less, minus a
    tenth, shared equally by the slots: several workers of a host need a setting of their own."""
    stage_environment: Annotated[tuple[str, ...], NoDecode] = ()
    """Names of further variables that stage processes get, separated by commas. Without it they get
    those of :mod:`workers.process.environment` only: no password, cloud key or hub token."""
    judge_endpoints: Annotated[tuple[str, ...], NoDecode] = ()
    """Servers (``host:port``, separated by commas) that judges may ask although they are not public
    or do not speak https. Without it judges reach public addresses over https only."""
    judge_keys_file: Path | None = None
    """JSON file, mode 0600, with the keys of judging endpoints, each for one host; read again for
    each JUDGE stage: ``{"TAILRACE_JUDGE_KEY_EXAMPLE": {"host": "api.example.com", "key": "…"}}``.
    The port is 443 unless ``host`` names another."""
    judge_proxy: str | None = None
    """HTTP proxy (``host:port``) through which judges reach servers other than
    ``judge_endpoints``; proxy variables of the environment do not count."""
    worker_metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """Port of Prometheus' ``/metrics``; unset serves none, 0 takes a free one."""
    worker_metrics_host: str = "127.0.0.1"
    """Address that ``/metrics`` is served on; ``0.0.0.0`` lets other hosts read it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity of the worker's own log."""

    @field_validator("pools", "stage_environment", "judge_endpoints", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("stage_command", mode="before")
    @classmethod
    def _split_command(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @field_validator("pools")
    @classmethod
    def _pool_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("names at least one pool, none twice")
        for name in value:
            if not re.fullmatch(RESOURCE_ID, name):
                raise ValueError(f"{name!r} is no pool name: 1-63 of a-z, 0-9, '-', letter first")
        return value

    @field_validator("stage_environment")
    @classmethod
    def _variable_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is not the name of an environment variable")
            if name.startswith(SETTINGS_PREFIX):
                raise ValueError(f"{name} is a setting of the worker, which no stage process gets")
        return value

    @field_validator("judge_endpoints")
    @classmethod
    def _places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(read_place(place) for place in value)

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
            raise ValueError("must be 1-63 of a-z, 0-9, '-', letter first")
        return value

    def public(self) -> dict[str, Any]:
        """Return the settings that anybody may see, as plain data."""
        return self.model_dump(mode="json", include=set(_PUBLIC))

    @property
    def resource_name(self) -> str:
        """``workers/{worker}``."""
        return f"workers/{self.worker_name}"
