from __future__ import annotations

import base64
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.node import free_port

CONFIG = Path(__file__).parents[3] / "deploy/flower/flowerconfig.py"
COMMAND = [sys.executable, "-m", "celery", "flower", f"--conf={CONFIG}", "--address=127.0.0.1"]


def environment(**variables: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TAILRACE_", "FLOWER_"))}
    return inherited | variables


@pytest.fixture
def flower(valkey_url: str, tmp_path: Path) -> Iterator[str]:
    """Address of a Flower started as the image starts it."""
    port = free_port()
    env = environment(
        TAILRACE_BROKER_URL=valkey_url,
        FLOWER_BASIC_AUTH="operator:secret",
        FLOWER_DB=str(tmp_path / "flower.db"),
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, f"--port={port}"], env=env, cwd=tmp_path, stdout=log, stderr=log
        )
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(20)
    assert "secret" not in (tmp_path / "log").read_text()


def status(address: str, path: str, login: str = "") -> int:
    """The answer's HTTP status; 0 for none."""
    headers = {}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_flower_shows_nothing_without_the_login(flower: str) -> None:
    deadline = time.monotonic() + 30
    while status(flower, "/healthcheck") != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for page in ("/", "/tasks", "/api/tasks", "/api/workers"):
        assert status(flower, page) == 401
        assert status(flower, page, "operator:wrong") == 401
        assert status(flower, page, "operator:secret") == 200


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"TAILRACE_BROKER_URL": "redis://127.0.0.1:1/0"}, "FLOWER_BASIC_AUTH"),
        ({"FLOWER_BASIC_AUTH": "operator:secret"}, "TAILRACE_BROKER_URL"),
    ],
)
def test_flower_does_not_start_without_login_or_broker(
    variables: dict[str, str], missing: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        COMMAND,
        env=environment(**variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert missing in done.stderr
    assert "Traceback" not in done.stderr
