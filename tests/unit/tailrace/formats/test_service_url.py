from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.service_url import (
    broker_url,
    database_url,
    holds_password,
    is_pooled,
    postgresql_dsn,
    sqlite_path,
    unchecked_options,
)

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("given", "normalized"),
    [
        ("sqlite:///t.db", "sqlite+aiosqlite:///t.db"),
        ("sqlite:////var/t.db", "sqlite+aiosqlite:////var/t.db"),
        ("sqlite+aiosqlite:///./.tailrace/t.db", "sqlite+aiosqlite:///./.tailrace/t.db"),
        ("postgres://u:p@h:5432/d", "postgresql+asyncpg://u:p@h:5432/d"),
        ("postgresql://u@h/d", "postgresql+asyncpg://u@h/d"),
        (" postgresql+psycopg2://u:p@h/d\n", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://h1:5432,h2:5433/d", "postgresql+asyncpg://h1:5432,h2:5433/d"),
        ("postgresql://[::1]:5432/d", "postgresql+asyncpg://[::1]:5432/d"),
        ("postgresql:///d?host=/var/run", "postgresql+asyncpg:///d?host=%2Fvar%2Frun"),
        ("postgresql://u:a@b@h/d", "postgresql+asyncpg://u:a%40b@h/d"),
        ("postgresql://u:100%@h/d", "postgresql+asyncpg://u:100%25@h/d"),
        ("postgres://u@h/d?ssl=true", "postgresql+asyncpg://u@h/d?sslmode=require"),
        (
            "postgres://u@h/d?sslmode=require&channel_binding=require&keepalives=1",
            "postgresql+asyncpg://u@h/d?sslmode=require&channel_binding=require",
        ),
    ],
)
def test_databases_as_providers_give_them(given: str, normalized: str) -> None:
    assert database_url(given) == normalized
    assert database_url(normalized) == normalized


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "is not a URL"),
        ("garbage", "is not a URL"),
        ("/var/lib/t.db", "is not a URL"),
        (f"mysql://u:{SECRET}@h/d", "has the scheme 'mysql'"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:t.db", "names no file"),
        ("sqlite://t.db", "three slashes"),
        ("sqlite:///t.db?mode=ro", "has options"),
        (f"postgres://u:{SECRET}@h:x/d", "has a port"),
        (f"postgres://u:{SECRET}@h:99999/d", "has a port"),
        (f"postgres://u:a/{SECRET}@h/d", "write / ? # @"),
        (f"postgres://u:a#{SECRET}@h/d", "write / ? # @"),
        (f"postgres://u:a?{SECRET}@h/d", "write / ? # @"),
        (f"postgres://u:{SECRET}[@h/d", "is not a URL"),
        (f"postgres://u:{SECRET}@h/d?sslmode=maybe", "not one of disable"),
        (f"postgres://u:{SECRET}@h/d?colour=red", "unknown options: colour"),
        (f"postgres://u:{SECRET}@h/d?connect_timeout=soon", "not a number"),
        (f"postgres://u:{SECRET}@h/d?sslrootcert=/nowhere", "not a file: /nowhere"),
        (f"postgres://u:{SECRET}@h/d?novalue", "in the form NAME=VALUE"),
    ],
)
def test_other_databases_are_refused_in_one_line_without_the_password(
    given: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=r"^\S") as raised:
        database_url(given)
    text = str(raised.value)
    assert problem in text
    assert SECRET not in text
    assert "\n" not in text


@given(st.text(alphabet="postgresqli:/@?&=#%[]., 9\n\0", max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    for normalize in (database_url, broker_url):
        with contextlib.suppress(ValueError):
            normalized = normalize(text)
            assert normalize(normalized) == normalized


def test_the_driver_gets_its_own_url_and_the_timeout() -> None:
    url = database_url("postgres://u:p@h/d?sslmode=require&connect_timeout=7&gssencmode=require")
    assert postgresql_dsn(url) == ("postgresql://u:p@h/d?sslmode=require", 7.0)
    assert unchecked_options(url) == ["gssencmode"]
    pooled = database_url("postgres://u@h/d?pgbouncer=true")
    assert postgresql_dsn(pooled)[0] == "postgresql://u@h/d"
    assert is_pooled(pooled)
    assert not is_pooled(url)
    assert postgresql_dsn(database_url("postgres://u@h/d")) == ("postgresql://u@h/d", None)


def test_the_file_of_a_database_may_have_any_name(tmp_path: Path) -> None:
    assert sqlite_path(database_url("sqlite:///a%20b%3F.db")) == "a b?.db"
    assert sqlite_path(database_url(f"sqlite:///{tmp_path}/t.db")) == f"{tmp_path}/t.db"


@pytest.mark.parametrize(
    ("given", "normalized"),
    [
        ("amqp://guest:guest@127.0.0.1:5672//", "amqp://guest:guest@127.0.0.1:5672//"),
        ("amqps://u:p@h/vhost", "amqps://u:p@h/vhost"),
        ("redis://:p@h:6379/0", "redis://:p@h:6379/0"),
        ("rediss://h", "rediss://h"),
        ("valkey://h:6379/1", "redis://h:6379/1"),
        ("valkeys://u:p@h", "rediss://u:p@h"),
        ("redis+socket:///run/valkey.sock", "redis+socket:///run/valkey.sock"),
        ("sentinel://a:1;sentinel://b:2", "sentinel://a:1;sentinel://b:2"),
    ],
)
def test_brokers_as_providers_give_them(given: str, normalized: str) -> None:
    assert broker_url(given) == normalized


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("garbage", "is not a URL"),
        (f"http://u:{SECRET}@h", "has the scheme 'http'"),
        ("amqp://", "names no host"),
        (f"amqp://u:{SECRET}@h:port/", "has a port"),
        (f"amqp://u:a/{SECRET}@h/", "write / ? # @"),
        (f"redis://:{SECRET}@h/cache", "the number of a database"),
    ],
)
def test_other_brokers_are_refused_in_one_line_without_the_password(
    given: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=r"^\S") as raised:
        broker_url(given)
    assert problem in str(raised.value)
    assert SECRET not in str(raised.value)


def test_passwords_are_noticed() -> None:
    assert holds_password("postgres://u:p@h/d")
    assert holds_password("redis://:p@h")
    assert holds_password("postgresql://h/d?user=u&password=p")
    assert holds_password("amqp://u:a/b@h")
    assert not holds_password("postgres://u@h:5432/d")
    assert not holds_password("sqlite:///a:b")
