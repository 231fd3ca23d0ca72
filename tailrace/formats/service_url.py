"""URLs of databases and brokers: from the forms that providers hand out to those of the drivers.

The ``ValueError`` for a wrong URL names the problem and the way out in one line. It never quotes
the URL, which may hold a password.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

SQLITE = "sqlite+aiosqlite"
"""Scheme of SQLite URLs in the driver's form."""

POSTGRESQL = "postgresql+asyncpg"
"""Scheme of PostgreSQL URLs in the driver's form."""

CONNECT_TIMEOUT = "connect_timeout"
"""Option of a PostgreSQL URL, in seconds, that is not an option of the driver's URLs."""

POOLED = "pgbouncer"
"""Option of a PostgreSQL URL by which providers mark sessions that a pooler shares."""

UNCHECKED = ("channel_binding", "gssencmode")
"""Options of a PostgreSQL URL whose value ``require`` the driver cannot enforce."""

_DATABASE_FORMS = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_DATABASE_SCHEMES = {
    **dict.fromkeys(["sqlite", "sqlite3", SQLITE, "sqlite+pysqlite"], SQLITE),
    **dict.fromkeys(
        ["postgres", "postgresql", POSTGRESQL, "postgresql+psycopg", "postgresql+psycopg2",
         "postgresql+pg8000", "pgsql"],
        POSTGRESQL,
    ),
}  # fmt: skip
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL_WORDS = {"true": "require", "1": "require", "on": "require", "false": "disable"}
_DRIVER_OPTIONS = frozenset({
    "host", "port", "user", "password", "dbname", "passfile", "service", "sslmode", "sslcert",
    "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib", "application_name",
    "options",
})  # fmt: skip
# Options of libpq that the driver applies by itself or does not have. None of them weakens TLS.
_LEFT_OUT_OPTIONS = frozenset({
    "client_encoding", "fallback_application_name", "keepalives", "keepalives_idle",
    "keepalives_interval", "keepalives_count", "load_balance_hosts", "sslcompression", "sslsni",
    "tcp_user_timeout",
})  # fmt: skip

_BROKER_FORMS = "amqp://USER:PASSWORD@HOST:PORT/VHOST (RabbitMQ) or redis://HOST:PORT/0 (Valkey)"
_BROKER_SCHEMES = {
    "amqp": "amqp", "amqps": "amqps", "pyamqp": "pyamqp", "redis": "redis", "rediss": "rediss",
    "valkey": "redis", "valkeys": "rediss", "redis+socket": "redis+socket", "sentinel": "sentinel",
}  # fmt: skip


def database_url(text: str) -> str:
    """Return ``sqlite+aiosqlite:///FILE``, or ``postgresql+asyncpg://…`` with libpq's options.

    Raises:
        ValueError: It is neither, or has an option that the driver does not support.
    """
    scheme = _scheme(text, _DATABASE_SCHEMES, _DATABASE_FORMS)
    return _sqlite_url(text) if scheme == SQLITE else _postgresql_url(text)


def broker_url(text: str) -> str:
    """Return the URL of RabbitMQ or Valkey in the form that Celery expects.

    Raises:
        ValueError: It is neither.
    """
    scheme = _scheme(text, _BROKER_SCHEMES, _BROKER_FORMS)
    rest = text.strip().partition("://")[2]
    if scheme in ("redis+socket", "sentinel"):
        return f"{scheme}://{rest}"
    parts = _split(text, _BROKER_FORMS)
    if not parts.hostname:
        raise ValueError(f"names no host; it looks like {_BROKER_FORMS}")
    _port(parts.netloc.rpartition("@")[2])
    if any(name.startswith("ssl") for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError(
            "has options for TLS: remove them; amqps:// and rediss:// always verify the "
            "certificate, and TAILRACE_BROKER_CA_FILE names its authority"
        )
    number = parts.path.strip("/")
    if scheme.startswith("redis") and number and not number.isdigit():
        raise ValueError("must end in the number of a database, such as redis://HOST:PORT/0")
    return f"{scheme}://{rest}"


def holds_password(text: str) -> bool:
    """Return True for a URL that holds a password, even if the URL is otherwise invalid."""
    user, at, _ = text.partition("://")[2].rpartition("@")
    return (bool(at) and ":" in user) or re.search(r"[?&]password=", text) is not None


def postgresql_dsn(url: str) -> tuple[str, float | None]:
    """Split a URL of :func:`database_url` into the driver's DSN and its connect timeout."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    timeout = dict(options).get(CONNECT_TIMEOUT)
    query = urlencode([(name, value) for name, value in options if name in _DRIVER_OPTIONS])
    dsn = f"postgresql://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")
    return dsn, float(timeout) if timeout else None


def is_pooled(url: str) -> bool:
    """Return True for a URL of :func:`database_url` whose sessions a pooler shares."""
    return dict(parse_qsl(urlsplit(url).query)).get(POOLED) == "true"


def unchecked_options(url: str) -> list[str]:
    """Return the :data:`UNCHECKED` options that a URL of :func:`database_url` requires."""
    options = dict(parse_qsl(urlsplit(url).query))
    return [name for name in UNCHECKED if options.get(name) == "require"]


def _scheme(text: str, schemes: Mapping[str, str], forms: str) -> str:
    scheme, colon, _ = text.strip().partition("://")
    if not colon or not re.fullmatch(r"[A-Za-z0-9+.-]+", scheme):
        raise ValueError(f"is not a URL; it looks like {forms}")
    driver_scheme = schemes.get(scheme.lower())
    if driver_scheme is None:
        raise ValueError(f"has the scheme {scheme[:40]!r}; it looks like {forms}")
    return driver_scheme


def _split(text: str, forms: str) -> SplitResult:
    """Split a URL whose user and password may hold unescaped characters."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        raise ValueError(f"is not a URL; it looks like {forms}") from None
    if parts.fragment or "@" in parts.path or "@" in parts.query:
        raise ValueError("cannot be parsed: write / ? # @ in a user or password as %2F %3F %23 %40")
    return parts


def _sqlite_url(text: str) -> str:
    parts = urlsplit(text.strip())
    path = unquote(parts.path)[1:]
    if parts.netloc:
        raise ValueError(
            "needs three slashes before a file, four before an absolute path: "
            "sqlite:///tailrace.db, sqlite:////var/lib/tailrace/tailrace.db"
        )
    if parts.query or parts.fragment:
        raise ValueError("has options, but SQLite takes none: remove the text after the file")
    if not path or path == ":memory:" or path.startswith("file:") or "\0" in path:
        raise ValueError("names no file; SQLite needs one: sqlite:///FILE")
    return f"{SQLITE}:///{quote(path)}"


def sqlite_path(url: str) -> str:
    """Return the file that a SQLite URL of :func:`database_url` names."""
    return unquote(url.partition(":///")[2])


def _postgresql_url(text: str) -> str:
    parts = _split(text, _DATABASE_FORMS)
    auth, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = auth.partition(":")
    for host in hosts.split(",") if hosts else ():
        _port(host)
    options = _postgresql_options(parts.query)
    quoted = quote(unquote(user), safe="")
    if colon:
        quoted += ":" + quote(unquote(password), safe="")
    query = urlencode(options)
    return f"{POSTGRESQL}://{quoted}{at}{hosts}{parts.path}" + (f"?{query}" if query else "")


def _postgresql_options(query: str) -> dict[str, str]:
    try:
        pairs = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError("has options that are not in the form NAME=VALUE, joined by &") from None
    options = {_OPTION_NAMES.get(name, name): value for name, value in pairs.items()}
    passed_on = {*_DRIVER_OPTIONS, CONNECT_TIMEOUT, POOLED, *UNCHECKED}
    _refuse_unknown(options, passed_on | _LEFT_OUT_OPTIONS)
    mode = options.get("sslmode")
    if mode is not None:
        options["sslmode"] = _SSL_WORDS.get(mode.lower(), mode.lower())
        if options["sslmode"] not in _SSL_MODES:
            raise ValueError(f"has an sslmode that is not one of {', '.join(_SSL_MODES)}")
    if options.get("sslrootcert") == "system":
        _trust_system(options)
    for name in _FILE_OPTIONS:
        if name in options and not Path(options[name]).is_file():
            raise ValueError(f"has an {name} that is not a file: {options[name]}")
    _check_number(options, CONNECT_TIMEOUT)
    _check_number(options, "port")
    return {name: value for name, value in options.items() if name in passed_on}


_OPTION_NAMES = {"ssl": "sslmode", "database": "dbname"}
"""Option names of other drivers, and ours."""

_FILE_OPTIONS = ("sslrootcert", "sslcert", "sslkey")


def _refuse_unknown(options: Mapping[str, str], known_options: Collection[str]) -> None:
    unknown = sorted(set(options) - set(known_options))
    if unknown:
        names = ", ".join(name[:40] for name in unknown[:5])
        raise ValueError(
            f"has unknown options: {names}; settings of the server go into "
            "options=-c%20NAME%3DVALUE"
        )


def _trust_system(options: dict[str, str]) -> None:
    """Replace libpq's ``sslrootcert=system``, which implies verify-full, by the system's file."""
    path = ssl.get_default_verify_paths().cafile
    if path is None:
        raise ValueError("has sslrootcert=system, but this system has no file of certificates")
    options["sslrootcert"] = path
    options["sslmode"] = "verify-full"


def _check_number(options: Mapping[str, str], name: str) -> None:
    value = options.get(name)
    if value is not None and not re.fullmatch(r"\d{1,6}(,\d{1,6})*", value):
        raise ValueError(f"has a {name} that is not a number")


def _port(host: str) -> None:
    """Raise ``ValueError`` for a host with an invalid port."""
    port = re.sub(r"^\[[^]]*\]", "", host).partition(":")[2]
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise ValueError(
            "has a port that is not a number from 1 to 65535; a password's / ? # @ are written as "
            "%2F %3F %23 %40"
        )
