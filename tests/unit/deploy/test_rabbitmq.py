"""The three RabbitMQ users, imported into a node: each can do its work and nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import pytest
from amqp.exceptions import AccessRefused

from services.adapters.broker import Broker
from tailrace.formats.dispatch import EXCHANGE, QUEUE_ARGUMENTS
from tests.servers.rabbitmq import RabbitMQ, RabbitMQUsers

SCRIPT = Path(__file__).parents[3] / "deploy/rabbitmq/definitions.py"
CPU, GPU = "tailrace.pool.cpu", "tailrace.pool.gpu"

_kombu: Any = kombu

Act = Callable[[Any], Any]


@pytest.fixture(scope="module")
def users(rabbitmq: RabbitMQ) -> RabbitMQUsers:
    """The users on a virtual host with two pools and the exchanges of Celery."""
    users = rabbitmq.users("gpu")
    with _kombu.Connection(users.guest) as connection:
        channel = connection.default_channel
        channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
        channel.exchange_declare("celeryev", "topic", durable=True, auto_delete=False)
        channel.exchange_declare("celery.pidbox", "fanout", durable=False, auto_delete=False)
        for queue, key in ((CPU, "pool.cpu"), (GPU, "pool.gpu")):
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments=QUEUE_ARGUMENTS)
            channel.queue_bind(queue, EXCHANGE, key)
    return users


def publish(exchange: str, key: str) -> Act:
    """Publish a message and wait for the node's answer."""
    return lambda channel: channel.basic_publish_confirm(_message(), exchange, key)


def _message() -> Any:
    from amqp import Message

    return Message("{}")


def consume(queue: str) -> Act:
    return lambda channel: channel.basic_consume(queue)


def get(queue: str) -> Act:
    return lambda channel: channel.basic_get(queue)


def bind(queue: str, exchange: str, key: str) -> Act:
    return lambda channel: channel.queue_bind(queue, exchange, key)


def delete(queue: str) -> Act:
    return lambda channel: channel.queue_delete(queue)


def purge(queue: str) -> Act:
    return lambda channel: channel.queue_purge(queue)


def declare(queue: str) -> Act:
    return lambda channel: channel.queue_declare(queue, auto_delete=True, durable=False)


def own(queue: str, exchange: str, key: str) -> Act:
    """Declare a queue, bind it and consume from it."""

    def act(channel: Any) -> None:
        channel.queue_declare(queue, auto_delete=True, durable=False)
        channel.queue_bind(queue, exchange, key)
        channel.basic_consume(queue)

    return act


def allowed(url: str, act: Act) -> bool:
    """Return True if the node lets a user do something."""
    with _kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
        try:
            act(connection.default_channel)
        except AccessRefused:
            return False
    return True


MAY = {
    "relay": {
        "publish a stage": publish(EXCHANGE, "pool.cpu"),
        "report an event": publish("celeryev", "task.failed"),
        "bind a pool's queue": bind(CPU, EXCHANGE, "pool.cpu"),
    },
    "worker": {
        "consume its pool": consume(GPU),
        "publish a run's next stage in another pool": publish(EXCHANGE, "pool.cpu"),
        "report an event": publish("celeryev", "task.started"),
        "be asked": own("tailrace@one.celery.pidbox", "celery.pidbox", ""),
    },
    "flower": {
        "follow events": own("celeryev.0815", "celeryev", "#"),
        "ask workers": publish("celery.pidbox", ""),
        "receive answers": declare("0815.reply.celery.pidbox"),
    },
}

MAY_NOT = {
    "relay": {
        "consume a pool": consume(CPU),
        "take a message": get(CPU),
        "empty a queue": purge(CPU),
        "put a message into a queue directly": publish("", CPU),
        "follow events": own("celeryev.0815", "celeryev", "#"),
        "ask workers": publish("celery.pidbox", ""),
        "declare other queues": declare("other"),
    },
    "worker": {
        "consume another pool": consume(CPU),
        "empty another pool": purge(CPU),
        "delete another pool's queue": delete(CPU),
        "get another pool's messages by a binding": bind(GPU, EXCHANGE, "pool.cpu"),
        "put a message into a queue directly": publish("", CPU),
        "publish under another key": publish(EXCHANGE, "other"),
        "follow events": own("celeryev.0815", "celeryev", "#"),
        "shut down other workers": publish("celery.pidbox", ""),
        "declare other queues": declare("other"),
    },
    "flower": {
        "consume a pool": consume(CPU),
        "take a message": get(CPU),
        "empty a queue": purge(CPU),
        "delete a queue": delete(CPU),
        "publish a stage": publish(EXCHANGE, "pool.cpu"),
        "invent an event": publish("celeryev", "task.succeeded"),
        "receive stages by a binding": own("celeryev.0815", EXCHANGE, "#"),
    },
}


@pytest.mark.parametrize("user", MAY)
def test_each_user_can_do_its_work(users: RabbitMQUsers, user: str) -> None:
    url = getattr(users, user)
    assert {deed: allowed(url, act) for deed, act in MAY[user].items()} == dict.fromkeys(
        MAY[user], True
    )


@pytest.mark.parametrize("user", MAY_NOT)
def test_no_user_can_do_more(users: RabbitMQUsers, user: str) -> None:
    url = getattr(users, user)
    assert {deed: allowed(url, act) for deed, act in MAY_NOT[user].items()} == dict.fromkeys(
        MAY_NOT[user], False
    )


async def test_the_relay_checks_declares_and_publishes(users: RabbitMQUsers) -> None:
    broker = Broker(users.relay, timeout=5)
    await broker.check()
    assert await broker.ready("new") == 0
    await broker.close()


def test_the_script_wants_passwords_of_some_length() -> None:
    weak = os.environ | {"RABBITMQ_RELAY_PASSWORD": "short"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env=weak, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "RABBITMQ_RELAY_PASSWORD" in done.stderr
    assert done.stdout == ""
