"""Print RabbitMQ's definitions of Tailrace's three users, for `rabbitmqctl import_definitions`.

Usage: python definitions.py [--vhost /] [--pool NAME …] > definitions.json

The passwords come from RABBITMQ_RELAY_PASSWORD, RABBITMQ_WORKER_PASSWORD and
RABBITMQ_FLOWER_PASSWORD; the output holds salted digests of them. Importing it again changes the
passwords and leaves everything else as it is.

tailrace-relay   declares the queues of pools and publishes stages; it cannot read a message
tailrace-worker  consumes the queues of its pools and publishes the next stages of a run
tailrace-flower  reads Celery's events and asks workers; it reaches no stage

With --pool, the worker's user serves those pools alone; its runs may go on in any pool.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import secrets
import sys
from typing import Any

STAGES = r"tailrace\.stages"
ANY_POOL = r".+"
EVENTS = "celeryev"
COMMANDS = r"celery\.pidbox"
REPLIES = r"reply\.celery\.pidbox"
EVENT_KEYS = r"(task|worker)\..+"
NOTHING = ""

Permissions = tuple[str, str, str]
"""Patterns of the names that a user may configure (declare and delete), write and read."""


def permissions(pools: str) -> dict[str, Permissions]:
    """Return each user's permissions; ``pools`` is the pattern of the worker's pools."""
    inbox = rf"tailrace@.+\.{COMMANDS}"
    any_queue, own_queues = rf"tailrace\.pool\.{ANY_POOL}", rf"tailrace\.pool\.{pools}"
    followers, answers = rf"{EVENTS}\..+", rf".+\.{REPLIES}"
    return {
        "tailrace-relay": (
            _any(STAGES, any_queue, EVENTS),
            _any(STAGES, any_queue, EVENTS),
            _any(STAGES),
        ),
        "tailrace-worker": (
            _any(STAGES, own_queues, EVENTS, COMMANDS, inbox, REPLIES),
            _any(STAGES, own_queues, EVENTS, inbox, REPLIES),
            _any(STAGES, own_queues, COMMANDS, inbox),
        ),
        "tailrace-flower": (
            _any(EVENTS, followers, COMMANDS, REPLIES, answers),
            _any(followers, COMMANDS, answers),
            _any(EVENTS, followers, REPLIES, answers),
        ),
    }


def topics(pools: str) -> list[tuple[str, str, str, str]]:
    """Return user, exchange, and patterns of the routing keys to publish and to bind."""
    any_key, own_keys = rf"pool\.{ANY_POOL}", rf"pool\.{pools}"
    return [
        ("tailrace-relay", STAGES, _any(any_key, r"tailrace\.probe"), _any(any_key)),
        ("tailrace-relay", EVENTS, _any(EVENT_KEYS), NOTHING),
        ("tailrace-worker", STAGES, _any(any_key), _any(own_keys)),
        ("tailrace-worker", EVENTS, _any(EVENT_KEYS), NOTHING),
        ("tailrace-flower", EVENTS, NOTHING, "^#$"),
    ]


def definitions(vhost: str, pools: list[str]) -> dict[str, Any]:
    """Return the definitions as RabbitMQ imports them."""
    pattern = "|".join(map(re.escape, pools))
    pattern = f"({pattern})" if pools else ANY_POOL
    return {
        "vhosts": [{"name": vhost}],
        "users": [_user(name) for name in ("relay", "worker", "flower")],
        "permissions": [
            {"user": user, "vhost": vhost, "configure": configure, "write": write, "read": read}
            for user, (configure, write, read) in permissions(pattern).items()
        ],
        "topic_permissions": [
            {
                "user": user,
                "vhost": vhost,
                "exchange": exchange.replace("\\", ""),
                "write": write or "^$",
                "read": read or "^$",
            }
            for user, exchange, write, read in topics(pattern)
        ],
    }


def _user(name: str) -> dict[str, Any]:
    variable = f"RABBITMQ_{name.upper()}_PASSWORD"
    password = os.environ.get(variable, "")
    if len(password) < 8:
        raise SystemExit(f"definitions.py: set {variable} to a password of 8 characters or more")
    salt = secrets.token_bytes(4)
    digest = salt + hashlib.sha256(salt + password.encode()).digest()
    return {
        "name": f"tailrace-{name}",
        "password_hash": base64.b64encode(digest).decode(),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        # Flower's tab "Broker" asks the management API.
        "tags": "management" if name == "flower" else "",
    }


def _any(*patterns: str) -> str:
    return f"^({'|'.join(patterns)})$"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--vhost", default="/", help="virtual host (default: /)")
    parser.add_argument(
        "--pool", action="append", default=[], help="pool of the worker's user; repeatable"
    )
    options = parser.parse_args()
    json.dump(definitions(options.vhost, options.pool), sys.stdout, indent=2)
    sys.stdout.write("\n")
