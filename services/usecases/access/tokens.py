"""Creating, listing and revoking API tokens."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from services.domain.access.token import ALL_PROJECTS, Token, digest, id_of, new_text
from services.domain.caller import Caller, unknown_project
from services.domain.errors import InvalidInput, NotFound, PermissionDenied
from services.domain.names import description_violations, id_violations
from services.domain.pages import take_fitting, text_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.domain.scope import IN_ALL, Role, Scope
from services.storage.engine.columns import utc_now
from services.storage.engine.database import Database
from services.storage.rows.access import audit, projects
from services.storage.rows.access import tokens as store
from services.usecases.context import Context
from tailrace.formats.limits import MAX_POOLS
from tailrace.formats.schema import Violation

DEFAULT_PAGE = 100
"""Default page size."""


@dataclass(frozen=True)
class NewToken:
    """Request for a token."""

    description: str = ""
    project: str = ""
    """Project of its rights, :data:`ALL_PROJECTS`, or empty: see :meth:`place`."""
    role: Role | None = None
    """Role in the project, in place of scopes."""
    scopes: Collection[Scope] = ()
    """Rights, in place of a role."""
    expire_time: datetime | None = None
    """Time from which it is refused; ``None`` for never."""
    worker_id: str = ""
    """Worker that holds it, of a token with the scope WORKER."""
    pools: Collection[str] = ()
    """Pools that the worker may serve."""

    @property
    def rights(self) -> frozenset[Scope]:
        """Scopes of the token."""
        return frozenset(self.scopes) if self.role is None else self.role.scopes

    def place(self, default: str) -> str:
        """Return the project of the rights; without one, it is ``default``, or all of them."""
        return self.project or (ALL_PROJECTS if IN_ALL & self.rights else default)

    def violations(self, now: datetime) -> list[Violation]:
        """Return the violations of all fields."""
        violations = description_violations("token.description", self.description)
        if self.role is not None and self.scopes:
            violations.append(Violation("token.scopes", "must be empty if the role is set"))
        if not self.rights:
            problem = "must be set, or token.scopes must name at least one scope"
            violations.append(Violation("token.role", problem))
        if Scope.TOKENS in self.scopes:
            problem = "cannot include tokens: set the role owner, which does"
            violations.append(Violation("token.scopes", problem))
        if Scope.WORKER in self.rights and len(self.rights) > 1:
            violations.append(
                Violation("token.scopes", "worker must be the only scope: create a second token")
            )
        is_worker = Scope.WORKER in self.rights
        violations += _binding_violations(is_worker, self.worker_id, self.pools)
        if IN_ALL & self.rights and self.project not in ("", ALL_PROJECTS):
            problem = "must be empty, because admin and worker count in every project"
            violations.append(Violation("token.project", problem))
        if self.expire_time is not None and self.expire_time <= now:
            violations.append(Violation("token.expire_time", "must be in the future"))
        return violations


async def create_token(context: Context, caller: Caller, new: NewToken) -> tuple[Token, str]:
    """Store a new token; return it with its text, which is not stored.

    Raises:
        InvalidInput: A field of the token is wrong.
        NotFound: The project does not exist, or is not the owner's (PROJECT_NOT_FOUND).
        PermissionDenied: The token would have rights that the caller lacks (RIGHTS_EXCEEDED).
    """
    if violations := new.violations(utc_now()):
        raise InvalidInput(violations)
    project = new.place(caller.project)
    if not caller.is_cluster_admin:
        if project == ALL_PROJECTS:
            raise PermissionDenied(
                "RIGHTS_EXCEEDED",
                "an owner makes tokens for its own project; an administrator makes others",
            )
        if project != caller.project:
            raise unknown_project(project)
    return await store_token(context.database, caller, new, project)


async def store_token(
    database: Database, caller: Caller, new: NewToken, project: str
) -> tuple[Token, str]:
    """Store a token for a project or :data:`ALL_PROJECTS`; return it with its text.

    Raises:
        InvalidInput: A field of the token is wrong.
        NotFound: The project does not exist (PROJECT_NOT_FOUND).
    """
    now = utc_now()
    if violations := new.violations(now):
        raise InvalidInput(violations)
    text = new_text()
    token = Token(
        token_id=id_of(text) or "",
        project=project,
        digest=digest(text),
        description=new.description,
        scopes=tuple(sorted(new.rights)),
        create_time=now,
        expire_time=new.expire_time,
        worker_id=new.worker_id,
        pools=tuple(sorted(set(new.pools))),
    )
    async with database.write() as conn:
        if project != ALL_PROJECTS and not await projects.exists(conn, project):
            raise unknown_project(project)
        await store.add(conn, token)
        await audit.record(conn, caller, token.name, project=project)
    return token, text


def _binding_violations(is_worker: bool, worker_id: str, pools: Collection[str]) -> list[Violation]:
    if not is_worker:
        names = {"token.worker": worker_id, "token.pools": pools}
        return [
            Violation(field, "needs the scope worker") for field, value in names.items() if value
        ]
    violations = id_violations("token.worker", worker_id)
    if not 1 <= len(pools) <= MAX_POOLS:
        violations.append(Violation("token.pools", f"must name 1 to {MAX_POOLS} pools"))
    for i, pool in enumerate(pools):
        violations += id_violations(f"token.pools[{i}]", pool)
    return violations


async def list_tokens(
    context: Context, caller: Caller, *, size: int, token: str
) -> tuple[list[Token], str]:
    """Return a page of the tokens that the caller manages, by id, and the next page's token.

    Raises ``InvalidInput``.
    """
    project = _managed(caller)
    query = ["tokens", project]
    position = decode_page_token(token, query, [str])
    limit = page_size(size, default=DEFAULT_PAGE)
    after = position[0] if position else ""
    async with context.database.read() as conn:
        rows = await store.page(conn, project, after=after, limit=limit + 1)
    page = take_fitting([(text_size(row.description), row) for row in rows], limit)
    more = len(page) < len(rows)
    return page, encode_page_token([page[-1].token_id], query) if more else ""


async def revoke_token(context: Context, caller: Caller, token_id: str) -> Token:
    """Revoke a token for good; repeating it changes nothing. Raises ``NotFound``."""
    project = _managed(caller)
    async with context.database.write() as conn:
        token = (await store.find(conn, [token_id])).get(token_id)
        if token is not None and project in (None, token.project):
            if await store.revoke(conn, token_id, utc_now()):
                await audit.record(conn, caller, token.name, project=token.project)
            return (await store.find(conn, [token_id]))[token_id]
    raise NotFound(
        "TOKEN_NOT_FOUND", f"tokens/{token_id} does not exist; `tailrace tokens list` shows all"
    )


def _managed(caller: Caller) -> str | None:
    """Return the project whose tokens a caller manages; ``None`` for all tokens."""
    return None if caller.is_cluster_admin else caller.project
