"""The Celery application's settings, as Celery reads them."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from celery.app.defaults import DEFAULTS
from celery.worker.consumer import Consumer

from tailrace.formats.dispatch import EXCHANGE
from tests.servers.worker_token import worker_token
from workers import __main__ as program
from workers import logs
from workers.app import SETTINGS_KEY, make_app
from workers.broker_link import StageConsumer
from workers.settings import _PUBLIC, Settings


def app_for(**settings: Any) -> Any:
    return make_app(Settings(**settings), "/private/control.sock")


def test_queues_are_those_of_the_pools_on_one_topic_exchange() -> None:
    app = app_for(pools=("cpu", "gpu"))
    queues = app.amqp.queues
    assert set(queues) == {"tailrace.pool.cpu", "tailrace.pool.gpu"}
    gpu = queues["tailrace.pool.gpu"]
    assert (gpu.exchange.name, gpu.exchange.type, gpu.routing_key) == (
        EXCHANGE,
        "topic",
        "pool.gpu",
    )
    assert gpu.durable
    assert gpu.queue_arguments == {"x-queue-type": "quorum"}
    with pytest.raises(KeyError):
        queues["tailrace.pool.unknown"]


def test_every_setting_is_one_that_celery_knows() -> None:
    app = app_for()
    assert app.conf.task_acks_late  # read, so that the changes are merged
    own = ("tailrace_", "deprecated_settings")
    given = {key for key in app.conf.changes if not key.startswith(own)}
    assert len(given) > 20
    assert given - set(DEFAULTS) == set()


def test_hours_long_stages_are_safe_with_it() -> None:
    conf = app_for().conf
    assert conf.worker_pool_start_method == "spawn"
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.task_ignore_result
    assert conf.accept_content == ["json"]
    assert not conf.task_create_missing_queues
    assert not conf.worker_cancel_long_running_tasks_on_connection_loss
    assert conf.broker_connection_max_retries is None
    assert conf.worker_send_task_events
    assert not conf.task_send_sent_event
    assert conf.worker_soft_shutdown_timeout > 0


def test_rabbitmq_confirms_and_valkey_does_not_deliver_again_in_mid_stage() -> None:
    rabbit = app_for(broker_url="amqp://guest@host//").conf.broker_transport_options
    assert rabbit == {"confirm_publish": True}
    valkey = app_for(broker_url="redis://host/0").conf.broker_transport_options
    longest_stage = 30 * 86_400
    assert valkey["visibility_timeout"] >= longest_stage


def test_pool_processes_get_the_settings_but_flower_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAILRACE_BROKER_URL", "amqp://user:secret@host//")
    monkeypatch.setenv("TAILRACE_STAGE_COMMAND", "python -m mine --key secret")
    parent = Settings(pools=("gpu",), worker_name="w", grace_seconds=3.5)
    app = make_app(parent, "/private/control.sock")
    copy = pickle.loads(pickle.dumps(app))  # noqa: S301  # how Celery itself hands it over
    assert Settings(**copy.conf[SETTINGS_KEY]) == parent
    table = json.dumps(app.conf.table(with_defaults=False, censored=True), default=str)
    assert "secret" not in table
    assert worker_token().value not in table


def test_a_new_setting_is_not_published_unless_it_is_listed() -> None:
    published = set(Settings().public())
    assert published == _PUBLIC
    private = set(Settings.model_fields) - published
    assert {"broker_url", "stage_command"} <= private
    secret = re.compile(r"url|key|password|secret|command|token(?!_file)")
    assert not [name for name in published if secret.search(name)]


def test_native_delayed_delivery_is_the_only_step_left_out() -> None:
    theirs = set(Consumer.Blueprint.default_steps)
    left_out = theirs - set(StageConsumer.Blueprint.default_steps)
    assert left_out == {"celery.worker.consumer.delayed_delivery:DelayedDelivery"}


def test_all_log_lines_are_json(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    try:
        logs.configure("info")
        structlog.get_logger("ours").bind(run_uid="u").info("done", seconds=1.5)
        logging.getLogger("celery.theirs").warning("theirs %s", 1)
        logging.getLogger("celery.theirs").debug("too quiet")
    finally:
        root.handlers, root.level = before
        structlog.reset_defaults()
    ours, theirs = map(json.loads, capfd.readouterr().err.splitlines())
    assert (ours["event"], ours["run_uid"], ours["level"]) == ("done", "u", "info")
    assert (theirs["event"], theirs["logger"]) == ("theirs 1", "celery.theirs")


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")

START_TRACKER = """
import os, sys, time
from pathlib import Path
from workers.app import start_semaphore_tracker

start_semaphore_tracker(Path(sys.argv[1]))
children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
assert len(children) == 1, children
deadline = time.monotonic() + 30
while "semaphore_tracker" not in Path("/proc", children[0], "cmdline").read_text():
    assert time.monotonic() < deadline, "it has not begun"
    time.sleep(0.01)
print(os.environ["TAILRACE_BROKER_URL"])
print(Path("/proc", children[0], "environ").read_text())
"""


@on_linux
def test_the_semaphore_tracker_has_the_environment_of_a_stage(tmp_path: Path) -> None:
    secrets = {"TAILRACE_BROKER_URL": "amqp://user:a-password@host//", "HF_TOKEN": "a-token"}
    process = subprocess.run(
        [sys.executable, "-c", START_TRACKER, str(tmp_path)],
        env={**os.environ, **secrets},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    own, _, environment = process.stdout.partition("\n")
    assert own == secrets["TAILRACE_BROKER_URL"], "the worker keeps its own variables"
    assert "PATH=" in environment
    assert "a-password" not in environment
    assert "a-token" not in environment


@on_linux
def test_a_worker_starts_the_semaphore_tracker_first(monkeypatch: pytest.MonkeyPatch) -> None:
    homes: list[Path] = []
    monkeypatch.setattr(program, "forbid_reading", lambda: None)
    monkeypatch.setattr(program.logs, "configure", lambda _: None)
    monkeypatch.setattr(program, "start_semaphore_tracker", homes.append)
    monkeypatch.setenv("TAILRACE_JUDGE_KEYS_FILE", "/missing")
    assert program.main() == os.EX_CONFIG
    assert homes == [Settings().work_dir]
