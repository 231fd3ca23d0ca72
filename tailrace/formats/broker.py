"""Broker faults, as the control plane and workers report them.

Faults are recognised by text and class name alone, so this module needs neither kombu nor a driver.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_AMQP = re.compile(r"(amqps?|pyamqp)://")

MAX_PROBLEM = 300
"""Maximum length of a broker problem's text, in characters."""


@dataclass(frozen=True)
class BrokerProblem:
    """A fault of a broker or of its settings."""

    text: str
    """The fault, the broker's address and the way out, without a password."""
    configuration: bool = False
    """True if only a changed setting helps; False if the fault may pass."""


def is_amqp(url: str) -> bool:
    """Return True for a URL of RabbitMQ, False for one of Valkey."""
    return _AMQP.match(url) is not None


def broker_place(url: str) -> str:
    """Return scheme, host, port and path of a broker URL, without user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


BLOCKED = (
    "RabbitMQ blocks publishers: a memory or disk alarm is on. Give the node memory or disk, or "
    "raise its limits; `rabbitmq-diagnostics alarms` names the alarm"
)
"""Problem text for a connection that RabbitMQ has blocked (``connection.blocked``)."""


def broker_problem(error: BaseException, url: str) -> BrokerProblem:
    """Translate an error of kombu, or of the drivers below it, into a problem of the broker."""
    causes = list(_causes(error))
    texts = " | ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
    place = broker_place(url)
    for pattern, configuration, advice in _KNOWN:
        if re.search(pattern, texts, re.IGNORECASE):
            path = unquote(urlsplit(url).path.removeprefix("/"))
            text = advice.format(place=place, path=path or "/")
            return BrokerProblem(text[:MAX_PROBLEM], configuration)
    untrusted = [cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)]
    if untrusted:
        reason = untrusted[0].verify_message
        text = f"the certificate of the broker at {place} is not trusted: {reason}"
        return BrokerProblem(text[:MAX_PROBLEM], configuration=True)
    kind = "RabbitMQ" if is_amqp(url) else "Valkey"
    reason = str(error).strip() or type(error).__name__
    text = f"the broker at {place} does not answer as {kind} does ({reason})"
    if any(isinstance(cause, ConnectionRefusedError | socket.gaierror) for cause in causes) or (
        "refused" in reason
    ):
        text = f"the broker at {place} cannot be reached ({reason})"
    return BrokerProblem(text[:MAX_PROBLEM])


_KNOWN = (
    (
        r"ACCESS_REFUSED - Login|\bWRONGPASS\b|\bNOAUTH\b|Authentication (required|Error)"
        r"|invalid (username-password|password)|without any password configured",
        True,
        "the broker at {place} refuses the login: check the user and password in "
        "TAILRACE_BROKER_URL",
    ),
    (
        r"NOT_ALLOWED - (vhost|access)",
        True,
        "the broker at {place} has no virtual host {path!r} for this user: make it with "
        "`rabbitmqctl add_vhost` and `set_permissions`, or name another in TAILRACE_BROKER_URL",
    ),
    (
        r"DB index is out of range",
        True,
        "the broker at {place} has no database {path}: name another in TAILRACE_BROKER_URL",
    ),
    (
        r"WRONG_VERSION_NUMBER|record layer failure",
        True,
        "the broker at {place} speaks no TLS there: use amqp:// or redis://, or its TLS port, in "
        "TAILRACE_BROKER_URL",
    ),
    (
        r"ACCESS_REFUSED|NOPERM",
        True,
        "the broker at {place} lets this user neither declare nor publish: give it the permissions "
        "configure, write and read (`rabbitmqctl set_permissions`; Valkey: `ACL SETUSER`)",
    ),
    (
        r"PRECONDITION_FAILED",
        True,
        "the broker at {place} has a queue or exchange of Tailrace's name with other arguments: "
        "delete it, or give Tailrace its own virtual host",
    ),
    (
        r"OutOfMemoryError|\bOOM command not allowed",
        False,
        "the broker at {place} has used up its memory (maxmemory) and takes no message: raise "
        "maxmemory or free some",
    ),
    (
        r"READONLY|MISCONF",
        False,
        "the broker at {place} takes no writes now: it is a replica, or cannot save to its disk",
    ),
)
"""Pattern in the texts of the errors, True if a setting is wrong, and the text to report."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
