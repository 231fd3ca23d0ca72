"""A private PostgreSQL cluster; each test gets a clone of a template that is migrated once."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from tests.servers.node import MissingServerError, Process, free_port, wait_until

_HELP = "PostgreSQL's binaries are not installed; get them with: apt-get install postgresql"


class Postgres:
    """One cluster on a free port; initdb refuses root, so then it runs as another user."""

    def __init__(self, folder: Path) -> None:
        self.bin = binaries()
        self.user = "postgres" if os.geteuid() == 0 else None
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.process: Process | None = None
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        argv = [str(self.bin / "initdb"), "-D", str(self.data), "-U", "postgres"]
        argv += ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            argv, user=self.user, cwd=folder, check=True, capture_output=True, timeout=60
        )
        self.start()

    def start(self) -> None:
        """Start the server, on the same data after a kill."""
        argv = [str(self.bin / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        argv += ["-h", "127.0.0.1", "-k", str(self.folder), "-c", "max_connections=200"]
        log = self.folder / "postgres.log"
        self.process = Process(argv, log=log, user=self.user, cwd=self.folder)
        wait_until(self._ready, "PostgreSQL", 30)

    def kill(self) -> None:
        """SIGKILL to every process of the server."""
        assert self.process is not None
        self.process.kill_group()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Fast shutdown."""
        if self.process is not None:
            self.process.stop(number=signal.SIGINT)

    def create(self, template: str | None = None) -> str:
        """A new database's name."""
        name = f"test_{secrets.token_hex(6)}"
        clone = f' TEMPLATE "{template}"' if template else ""
        self.execute(f'CREATE DATABASE "{name}"{clone}')
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def url(self, name: str) -> str:
        """The database's URL as settings take it."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str) -> None:
        """Run one statement outside a transaction."""
        with psycopg.connect(self._dsn(), autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def _dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def _ready(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def binaries() -> Path:
    """The folder of PostgreSQL's programs, the newest release's where there are several."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    if found:
        return found[0].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise MissingServerError(_HELP)
    return Path(initdb).parent
