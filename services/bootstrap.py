"""``python -m services.bootstrap``: make a token on the server's host, as `tailrace tokens` does.

It needs the settings of the database and nothing else: who can read them has every right already.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import timedelta

from pydantic import ValidationError
from pydantic_settings import SettingsError

from services.domain.access.token import ALL_PROJECTS
from services.domain.caller import Call, Caller
from services.domain.errors import DomainError
from services.domain.scope import Scope
from services.settings import Settings
from services.storage.engine.columns import utc_now
from services.storage.engine.database import Database
from services.storage.engine.migrate import migrate_database
from services.usecases.access.tokens import NewToken, store_token

METHOD = "tokens create --bootstrap"
"""Method of the event in the audit log: there is no call."""

EXIT_CONFIGURATION = 78
"""A setting is invalid (EX_CONFIG of sysexits.h)."""

EXIT_UNAVAILABLE = 69
"""The database does not answer (EX_UNAVAILABLE)."""


def main() -> int:
    """Print a new token; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.bootstrap", description=__doc__)
    parser.add_argument("--description", default="bootstrap")
    parser.add_argument("--days", type=int, default=None)
    arguments = parser.parse_args()
    try:
        settings = Settings()
    except (ValidationError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    try:
        text = asyncio.run(_create(settings, arguments.description, arguments.days))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    except (OSError, DomainError) as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_UNAVAILABLE
    sys.stdout.write(f"{text}\n")
    return 0


async def _create(settings: Settings, description: str, days: int | None) -> str:
    database = Database(settings.database_url)
    try:
        await database.check()
        await migrate_database(database)
        expire_time = None if days is None else utc_now() + timedelta(days=days)
        new = NewToken(description, scopes=[Scope.ADMIN], expire_time=expire_time)
        caller = Caller(call=Call(method=METHOD))
        _token, text = await store_token(database, caller, new, ALL_PROJECTS)
        return text
    finally:
        await database.close()


if __name__ == "__main__":
    sys.exit(main())
