"""Caller of the API: on whose behalf a use case runs, and in which project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.domain.access.worker_binding import ANY_WORKER, WorkerBinding
from services.domain.errors import NotFound
from services.domain.scope import CLIENT_SCOPES, Role, Scope, role_of

DEFAULT_PROJECT = "default"
"""Project of clients that name none, and of the fleet, which serves all projects."""

LOCAL = "local"
"""Subject of a caller without a credential."""


def worker_subject(worker_id: str) -> str:
    """Return the identity of a worker."""
    return f"worker:{worker_id}"


@dataclass(frozen=True)
class Call:
    """Call that a caller makes, for the audit log."""

    method: str = ""
    """Method, such as ``RunService/CancelRun``; empty outside the API."""
    peer: str = ""
    """Network address that the call came from, ``host:port``; a proxy's own if one is between."""
    request_id: str = ""
    """Id that the client chose for the request, or else the control plane."""


@dataclass(frozen=True)
class Caller:
    """Client behind a call."""

    project: str = DEFAULT_PROJECT
    """Project that owns what the call names and creates."""
    scopes: frozenset[Scope] = CLIENT_SCOPES
    """Rights of the caller in the project."""
    token_id: str = ""
    """Id of the caller's API token; empty for the worker token and for callers without a token."""
    subject: str = LOCAL
    """Name of the caller: ``token:ID``, ``oidc:ISSUER#SUB``, ``worker:NAME``, or :data:`LOCAL`."""
    binding: WorkerBinding = ANY_WORKER
    """Name and pools of a worker's credential."""
    projects: frozenset[str] | None = None
    """Projects in which the caller has a role; ``None`` for rights in every project."""
    call: Call = Call()
    """Call in progress."""

    @property
    def role(self) -> Role | None:
        """Role of the caller in the project; ``None`` for a worker."""
        return role_of(self.scopes)

    @property
    def is_cluster_admin(self) -> bool:
        """True if the caller may act in every project, and manage projects and workers."""
        return Scope.ADMIN in self.scopes

    def knows(self, project: str) -> bool:
        """Return True if the caller has rights in a project, should it exist."""
        return self.projects is None or project in self.projects

    @property
    def is_worker(self) -> bool:
        """True if the caller has the rights of a worker alone."""
        return self.scopes == {Scope.WORKER}


@dataclass(frozen=True)
class Identity:
    """Holder of a credential, with all rights that it has, before a project is chosen."""

    subject: str
    """See :attr:`Caller.subject`."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Roles by project."""
    scopes: frozenset[Scope] = frozenset()
    """Rights in every project."""
    token_id: str = ""
    """Id of the API token or session; empty for other credentials."""
    is_session: bool = False
    """True for a session, which stands for another credential."""
    expire_time: datetime | None = None
    """Time from which a token of the OpenID provider is refused; ``None`` for other credentials."""
    nonce: str = ""
    """Nonce of the login that the OpenID provider's token is from; empty for none."""
    is_id_token: bool = False
    """True for an ID token that only makes a session: its audience is a console."""
    binding: WorkerBinding = ANY_WORKER
    """See :attr:`Caller.binding`."""

    @property
    def is_anonymous(self) -> bool:
        """True for a caller without a credential."""
        return self.subject == LOCAL

    @property
    def home(self) -> str:
        """Project of calls that name none: the only one with a role, else ``default``."""
        return next(iter(self.roles)) if len(self.roles) == 1 else DEFAULT_PROJECT

    @property
    def _projects(self) -> frozenset[str] | None:
        return None if self.scopes else frozenset(self.roles)

    def caller(self, project: str = "") -> Caller:
        """Return the caller in a project, or in :attr:`home` for an empty name.

        Raises:
            NotFound: The identity has no right in the project (PROJECT_NOT_FOUND).
        """
        # The fleet serves all projects: leases tell for which one a worker acts.
        chosen = DEFAULT_PROJECT if self.scopes == {Scope.WORKER} else project or self.home
        role = self.roles.get(chosen)
        scopes = self.scopes | (role.scopes if role else frozenset())
        if not scopes:
            raise unknown_project(chosen)
        return Caller(chosen, scopes, self.token_id, self.subject, self.binding, self._projects)

    def caller_anywhere(self) -> Caller:
        """Return the caller of a method that concerns no project, with the rights of all."""
        roles = (role.scopes for role in self.roles.values())
        scopes = self.scopes.union(*roles)
        return Caller(
            DEFAULT_PROJECT, scopes, self.token_id, self.subject, self.binding, self._projects
        )


def unknown_project(project: str) -> NotFound:
    """Return the error for a project that does not exist or in which the caller has no right.

    The two cases must look the same.
    """
    return NotFound(
        "PROJECT_NOT_FOUND",
        f"projects/{project[:63]} does not exist, or you have no role in it: choose another",
    )
