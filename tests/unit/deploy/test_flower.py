from __future__ import annotations

import ast
import base64
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flower.views.tasks import TASK_COLUMNS

from tests.servers.node import free_port

DEPLOY = Path(__file__).parents[3] / "deploy"
CONFIG = DEPLOY / "flower/flowerconfig.py"


def image_command() -> list[str]:
    """The image's start command, with this checkout's files."""
    commands = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines()
                if line.startswith("CMD") and "flower" in line]  # fmt: skip
    words: list[str] = json.loads(commands[-1].removeprefix("CMD"))
    python = str(Path(sys.executable).with_name("celery"))
    return [
        {"celery": python}.get(word, word.replace("/etc/tailrace/flowerconfig.py", str(CONFIG)))
        for word in words
    ]


COMMAND = [*image_command(), "--address=127.0.0.1"]


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
        # As Kubernetes does beside a Service named flower.
        FLOWER_PORT="tcp://10.96.0.20:5555",
        FLOWER_SERVICE_HOST="10.96.0.20",
        FLOWER_PORT_5555_TCP_PORT="5555",
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
    for page in ("/", "/tasks", "/api/tasks", "/api/workers", "/metrics", "/broker"):
        assert status(flower, page) == 401
        assert status(flower, page, "operator:wrong") == 401
        assert status(flower, page, "operator:secret") == 200


def test_every_column_exists_and_runtimes_of_days_have_a_bucket() -> None:
    options = {}
    for line in CONFIG.read_text().splitlines():
        name, separator, value = line.partition(" = ")
        if separator and name in ("tasks_columns", "task_runtime_metric_buckets"):
            options[name] = ast.literal_eval(value)
    assert set(options["tasks_columns"].split(",")) <= set(TASK_COLUMNS)
    assert options["task_runtime_metric_buckets"][-1] > 2 * 86_400


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
