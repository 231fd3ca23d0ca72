"""TLS, tokens and certificates for a stack that has not started yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tailrace.access import Access
from tailrace.tls_files import TlsFiles
from tests.servers.certificates import write_tls
from tests.servers.node import free_port
from tests.servers.rabbitmq import RabbitMQ
from tests.stack import Stack


def secure(stack: Stack, rabbitmq: RabbitMQ) -> None:
    """Let a stack speak TLS everywhere: to clients by token, to workers by certificate."""
    files = write_tls(stack.folder / "tls", "server")
    stack.worker_address = f"127.0.0.1:{free_port()}"
    stack.env |= {
        "TAILRACE_REQUIRE_TOKENS": "true",
        "TAILRACE_TLS_CERT_FILE": str(files.certificate),
        "TAILRACE_TLS_KEY_FILE": str(files.key),
        "TAILRACE_WORKER_BIND": stack.worker_address,
        "TAILRACE_WORKER_CA_FILE": str(files.ca),
        "TAILRACE_BROKER_CA_FILE": str(rabbitmq.files.ca),
    }
    stack.broker_url = rabbitmq.over_tls(stack.broker_url)
    stack.env["TAILRACE_BROKER_URL"] = stack.worker_broker_url = stack.broker_url
    stack.worker_env = lambda name: worker_settings(stack, name)
    token = bootstrap_token(stack.env)
    stack.access = Access(tls=TlsFiles(files.ca), token=lambda: token)


def worker_settings(stack: Stack, name: str) -> dict[str, str]:
    """Settings of a worker with a certificate of its name."""
    files = write_tls(stack.folder / "tls", name, ())
    return {
        "TAILRACE_SERVER": stack.worker_address,
        "TAILRACE_CA_FILE": str(files.ca),
        "TAILRACE_CERT_FILE": str(files.certificate),
        "TAILRACE_KEY_FILE": str(files.key),
    }


def bootstrap_token(env: dict[str, str]) -> str:
    """The first administrator's token, made on the server's host."""
    done = subprocess.run(
        [sys.executable, "-m", "services.bootstrap"],
        env=env,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()
