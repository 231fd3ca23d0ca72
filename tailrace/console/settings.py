"""Settings of the console, the only module that reads its environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tailrace.cli.embedded.local_console import DEFAULT_CONSOLE

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):(\d{1,5})")


class Settings(BaseSettings):
    """Settings, each read from ``TAILRACE_CONSOLE_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="TAILRACE_CONSOLE_", frozen=True)

    listen: str = DEFAULT_CONSOLE
    """``host:port`` of the HTTP server; port 0 chooses a free one."""
    hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names, separated by commas, under which browsers may call the console, in addition to that of
    ``listen`` and, on loopback, ``localhost``. Requests for other names are refused."""
    key_file: Path | None = None
    """File with the keys that encrypt cookies, one a line and the newest first, mode 0600; created
    if missing. Consoles behind one name need the same file. Unset for a key of this process alone:
    a restart then ends every login."""
    flower_url: str = Field(default="", pattern="^(https?://[^ ]+)?$")
    """URL of Flower, for links to the tasks of a stage; empty for no links."""

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        match = _ADDRESS.fullmatch(value)
        if match is None or int(match[2]) > 65_535:
            raise ValueError("must be host:port, such as 127.0.0.1:7480 or [::1]:7480")
        return value

    @field_validator("hosts", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip().lower() for name in value.split(",") if name.strip())
