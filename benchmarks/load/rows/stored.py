"""Finished runs, written past the API: as many rows as years of use would leave."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from benchmarks.load.spec import SPEC

STATES = ("SUCCEEDED", "FAILED", "SUCCEEDED", "SUCCEEDED", "CANCELLED", "SUCCEEDED", "SUCCEEDED")
TEAMS = 10
SWEEPS = 1000
"""Values of a label that few runs share."""

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=10)
CHUNK = 20_000
"""Rows of one statement."""

_STAGES = ("train", "infer", "judge")

COLUMNS = {
    "runs": "uid project run_id spec resolved_spec state revision create_time start_time end_time "
    "update_time",
    "run_labels": "run_uid name project value state create_time",
    "stages": "run_uid stage_id project ordinal kind pool state attempt failures max_attempts "
    "cached_from queue_time start_time end_time",
    "transitions": "project run_uid time stage_id from_state to_state reason",
}

Rows = Iterator[tuple[Any, ...]]


def uid(number: int) -> str:
    """A run's uid: spread over the index as random ones are."""
    return f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}{number:016x}"


def store(url: str, count: int) -> None:
    """Write runs 0 to ``count``, newest last, into a migrated database."""
    sqlite = make_url(url).get_backend_name() == "sqlite"
    write = _into_sqlite if sqlite else _into_postgres
    write(url, {"runs": _runs(count), "run_labels": _labels(count), "stages": _stages(count),
                "transitions": _transitions(count)})  # fmt: skip


def created(number: int) -> datetime:
    """When run ``number`` was created."""
    return FIRST + number * STEP


def _runs(count: int) -> Rows:
    spec = json.dumps(SPEC)
    for i in range(count):
        time = created(i)
        state = STATES[i % len(STATES)]
        yield (uid(i), "default", f"run-{i}", spec, spec, state, 9, time, time, time, time)


def _labels(count: int) -> Rows:
    for i in range(count):
        order = (STATES[i % len(STATES)], created(i))
        yield (uid(i), "team", "default", f"t{i % TEAMS}", *order)
        yield (uid(i), "sweep", "default", f"s{i % SWEEPS}", *order)


def _stages(count: int) -> Rows:
    for i in range(count):
        time, state = created(i), STATES[i % len(STATES)]
        for ordinal, name in enumerate(_STAGES):
            # fmt: off
            yield (uid(i), name, "default", ordinal, name, "cpu", state, 1, 0, 3, "", time, time,
                   time)
            # fmt: on


def _transitions(count: int) -> Rows:
    for i in range(count):
        yield ("default", uid(i), created(i), "", "QUEUED", "RUNNING", "started")
        yield ("default", uid(i), created(i), "", "RUNNING", STATES[i % len(STATES)], "done")


def _into_sqlite(url: str, tables: dict[str, Rows]) -> None:
    path = make_url(url).database or ""
    with sqlite3.connect(path) as connection:
        # The file is made for this; whoever reads it later is as durable as ever.
        connection.execute("PRAGMA synchronous=OFF")
        for table, rows in tables.items():
            names = COLUMNS[table].split()
            marks = ", ".join("?" for _ in names)
            insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608
            while chunk := list(itertools.islice(rows, CHUNK)):
                connection.executemany(insert, [tuple(map(_sqlite_value, row)) for row in chunk])
        connection.commit()
        connection.execute("ANALYZE")
    connection.close()


def _sqlite_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def _into_postgres(url: str, tables: dict[str, Rows]) -> None:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table, rows in tables.items():
            names = ", ".join(COLUMNS[table].split())
            with connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
        connection.execute("VACUUM ANALYZE")
