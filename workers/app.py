"""The Celery application of a worker, with settings for stages that take hours."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from billiard import semaphore_tracker
from celery import Celery, signals
from kombu.entity import Exchange, Queue

from tailrace.broker_tls import broker_tls
from tailrace.formats.dispatch import EXCHANGE, QUEUE_ARGUMENTS, queue_name, routing_key
from workers import logs
from workers.backoff import POLICY
from workers.process.environment import inherited_environment
from workers.settings import Settings

SETTINGS_KEY = "tailrace_settings"
"""Key of the settings that the application's configuration carries to pool processes. Flower shows
it, so only public settings are in it; pool processes read the others from their environment, which
is that of the parent."""

CONTROL_KEY = "tailrace_control_socket"
"""Key of the path of the parent's socket (:mod:`workers.pool.parent_socket`)."""

CONFIRM_SECONDS = 10.0
"""Longest wait for the broker to confirm a publication."""

_VISIBILITY_SECONDS = 30 * 86_400
"""Time after which Valkey delivers an unacknowledged message again. It exceeds the longest stage;
an earlier redelivery would be harmless, and the control plane publishes stages of dead workers
itself."""


def make_app(settings: Settings, control_socket: str) -> Celery:
    """Return the application; pool processes get a pickled copy of its configuration.

    Args:
        settings: The worker's settings.
        control_socket: Path of the parent's control socket.
    """
    app = Celery("tailrace", broker=settings.broker_url, include=["workers.tasks"])
    app.conf.update(_configuration(settings))
    app.conf.update({SETTINGS_KEY: settings.public(), CONTROL_KEY: control_socket})
    return app


def start_semaphore_tracker(home: Path) -> None:
    """Start the process that removes semaphores of killed pool processes.

    It lives as long as the worker. Its exec ends the protection against reading its memory
    (:mod:`tailrace.undumpable`), so it gets only the variables of a stage process. Call this before
    there are threads: they would miss variables meanwhile.
    """
    environment = dict(os.environ)
    os.environ.clear()
    os.environ.update(inherited_environment(home, environment=environment))
    try:
        semaphore_tracker.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(environment)


def _configuration(settings: Settings) -> dict[str, Any]:
    return {
        # A fresh interpreter per pool process: gRPC must not be forked while the parent uses it.
        "worker_pool": "prefork",
        "worker_pool_start_method": "spawn",
        "worker_prefetch_multiplier": 1,
        # For fair prefetching only; leases give safety (a redelivery finds its stage taken).
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "event_serializer": "json",
        "task_queues": [_queue(pool) for pool in settings.pools],
        "task_create_missing_queues": False,
        # Signatures name exchange and routing key, but the router still looks up a default queue.
        "task_default_queue": queue_name(settings.pools[0]),
        "task_publish_retry_policy": {
            "max_retries": 10,
            "interval_start": POLICY.initial_seconds,
            "interval_step": 0.5,
            "interval_max": POLICY.maximum_seconds,
        },
        "broker_transport_options": _transport_options(settings.broker_url),
        "broker_use_ssl": broker_tls(settings.broker_url, settings.broker_files) or False,
        "broker_connection_timeout": 10.0,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_heartbeat": 30,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": settings.drain_seconds,
        # A pool process first imports gRPC and Celery, which is slow on a busy host.
        "worker_proc_alive_timeout": 60.0,
        "worker_consumer": "workers.broker_link:StageConsumer",
        # The dispatcher is on, but workers.task_events decides which events about stages are sent.
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _queue(pool: str) -> Queue:
    return Queue(  # type: ignore[no-untyped-call]
        queue_name(pool),
        Exchange(EXCHANGE, type="topic", durable=True),  # type: ignore[no-untyped-call]
        routing_key=routing_key(pool),
        durable=True,
        queue_arguments=QUEUE_ARGUMENTS,
    )


def _transport_options(broker_url: str) -> dict[str, Any]:
    if broker_url.startswith(("amqp", "pyamqp")):
        return {"confirm_publish": True}
    return {
        "visibility_timeout": _VISIBILITY_SECONDS,
        "socket_connect_timeout": 10.0,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }


def _keep_our_logging(loglevel: int, **_: Any) -> None:
    logs.configure(logging.getLevelName(loglevel).lower())


# Celery sends this signal in the parent and in each pool process; both import this module first.
signals.setup_logging.connect(_keep_our_logging, weak=False)
