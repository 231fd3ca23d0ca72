"""A private RabbitMQ node that can be killed and restarted, also as root.

It listens in plaintext on 127.0.0.1, and with TLS by a certificate for one host alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import runpy
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

from tests.servers.certificates import write_tls
from tests.servers.node import MissingServerError, Process, free_port, port_open, wait_until

_BIN = Path("/usr/lib/rabbitmq/bin")
_DEFINITIONS = Path(__file__).parents[2] / "deploy/rabbitmq/definitions.py"
_HELP = "rabbitmq-server is not installed; get it with: apt-get install rabbitmq-server"


@dataclasses.dataclass(frozen=True)
class RabbitMQUsers:
    """URLs of one virtual host, by user."""

    relay: str
    worker: str
    flower: str
    guest: str
    """User who may do everything."""


class RabbitMQ:
    """One node with its own Erlang name, port mapper, ports and data folder.

    Args:
        folder: Its folder.
        tls_host: Host of the TLS listener, which its certificate names.
    """

    def __init__(self, folder: Path, tls_host: str = "localhost") -> None:
        if not (_BIN / "rabbitmq-server").exists() and shutil.which("rabbitmq-server") is None:
            raise MissingServerError(_HELP)
        self.folder = folder
        self.port = free_port()
        self.tls_port = free_port()
        self.tls_host = tls_host
        self.files = write_tls(folder / "tls", "server", (tls_host,))
        """The certificate for the host, with its authority."""
        self.epmd_port = free_port()
        self.env = self._environment(free_port())
        self.process = self._start()

    def url(self, vhost: str = "%2F") -> str:
        """AMQP URL of a virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}"

    def fresh_vhost(self) -> str:
        """A new virtual host's AMQP URL: a broker of a test's own."""
        name = f"test-{secrets.token_hex(4)}"
        self.ctl("add_vhost", name)
        self.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.url(name)

    def users(self, *pools: str) -> RabbitMQUsers:
        """The deployment's three users, on a new virtual host of their own."""
        vhost = f"test-{secrets.token_hex(4)}"
        names = ("relay", "worker", "flower")
        passwords = {f"RABBITMQ_{name.upper()}_PASSWORD": "secret-of-tests" for name in names}
        with mock.patch.dict(os.environ, passwords):
            made: dict[str, Any] = runpy.run_path(str(_DEFINITIONS))["definitions"](
                vhost, list(pools)
            )
        file = self.folder / f"{vhost}.json"
        file.write_text(json.dumps(made))
        self.ctl("import_definitions", str(file))
        self.ctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
        return RabbitMQUsers(*(self._user_url(name, vhost) for name in names), self.url(vhost))

    def over_tls(self, url: str) -> str:
        """The URL of the TLS listener for one of the plaintext listener."""
        plain = f"127.0.0.1:{self.port}"
        tls = f"{self.tls_host}:{self.tls_port}"
        return url.replace("amqp://", "amqps://").replace(plain, tls)

    def _user_url(self, name: str, vhost: str) -> str:
        return f"amqp://tailrace-{name}:secret-of-tests@127.0.0.1:{self.port}/{quote(vhost)}"

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl against this node; returns its output."""
        argv = ["rabbitmqctl", "--quiet", *args]
        done = subprocess.run(
            argv, env=self.env, capture_output=True, text=True, timeout=90, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
        return done.stdout

    def kill(self) -> None:
        """SIGKILL to the node; the port mapper stays."""
        self.process.kill_group()

    def restart(self) -> None:
        """Start the node again on the same data and ports."""
        self.process = self._start()

    def stop(self) -> None:
        """End the node and its port mapper."""
        self.process.stop(number=signal.SIGTERM)
        subprocess.run(
            ["epmd", "-port", str(self.epmd_port), "-kill"],
            env=self.env,
            capture_output=True,
            timeout=10,
            check=False,
        )

    def _environment(self, dist_port: int) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        address = "127.0.0.1" if self.tls_host == "localhost" else self.tls_host
        config, plugins = self.folder / "rabbitmq.conf", self.folder / "enabled_plugins"
        config.write_text(
            "log.console = false\n"
            f"listeners.ssl.1 = {address}:{self.tls_port}\n"
            f"ssl_options.cacertfile = {self.files.ca}\n"
            f"ssl_options.certfile = {self.files.certificate}\n"
            f"ssl_options.keyfile = {self.files.key}\n"
        )
        plugins.write_text("[].\n")
        node = f"tailrace{secrets.token_hex(4)}@localhost"
        own = {
            "PATH": f"{_BIN}:{env['PATH']}",
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        return env | own

    def _start(self) -> Process:
        (self.folder / "pid").unlink(missing_ok=True)
        # Mnesia and a crash write files to the working directory.
        process = Process(
            ["rabbitmq-server"], log=self.folder / "node.log", env=self.env, cwd=self.folder
        )
        try:
            wait_until((self.folder / "pid").exists, "RabbitMQ's pid file", 60)
            self.ctl("wait", "--timeout", "60", str(self.folder / "pid"))
            wait_until(lambda: port_open(self.port), "RabbitMQ's port", 30)
        except (TimeoutError, RuntimeError) as error:
            raise RuntimeError(f"{error}\n{process.tail()}") from error
        return process
