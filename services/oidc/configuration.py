"""The file of ``TAILRACE_OIDC_FILE``: the issuer, and the rights that its claims give."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from services.domain.scope import Role
from tailrace.formats.outside_json import is_deep, read_object
from tailrace.formats.spec.run_spec import RESOURCE_ID
from tailrace.oidc.web import Web, WebError

MAX_BYTES = 256 * 1024
"""Maximum size of the file."""

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Algorithms that the file may name: those with a public key."""

_PROJECT, _ROLE = "{project}", "{role}"

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


class Grant(BaseModel):
    """Rights of the users whose tokens have a claim with a value."""

    model_config = _STRICT

    claim: str | list[str] | None = None
    """Name of the claim, or its path in nested objects; left out for all users of the issuer."""
    value: str | None = None
    """Text that the claim must be, or be a list with. ``{project}`` and ``{role}`` in it stand for
    the names of a project and a role."""
    project: str | None = None
    """Project in which the role counts."""
    role: Literal["viewer", "editor", "owner"] | None = None
    """Role in the project."""
    cluster_admin: bool = False
    """True for all rights in all projects."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        value = self.value or ""
        if value.count(_PROJECT) > 1 or value.count(_ROLE) > 1:
            raise ValueError("value can have {project} and {role} only once each")
        if (self.claim is None) != (self.value is None):
            raise ValueError("claim and value must be given together, or neither")
        if self.cluster_admin:
            if self.claim is None or self.project or self.role or _PROJECT in value:
                raise ValueError("cluster_admin needs a claim and a value, and no project or role")
            return self
        if (self.project is None) == (_PROJECT not in value):
            raise ValueError("must name the project, either as project or by {project} in value")
        if (self.role is None) == (_ROLE not in value):
            raise ValueError("must name the role, either as role or by {role} in value")
        if self.project is not None and not re.fullmatch(RESOURCE_ID, self.project):
            raise ValueError(f"{self.project[:100]!r} is not a project's id")
        return self

    @property
    def path(self) -> tuple[str, ...]:
        """Path of the claim."""
        return (self.claim,) if isinstance(self.claim, str) else tuple(self.claim or ())

    def roles(self, claims: Mapping[str, Any]) -> list[tuple[str, Role]]:
        """Return the projects and roles that a token's claims give."""
        if self.claim is None:
            return [(self.project or "", Role(self.role or ""))]
        pattern = re.escape(self.value or "")
        pattern = pattern.replace(re.escape(_PROJECT), f"(?P<project>{RESOURCE_ID})")
        pattern = pattern.replace(re.escape(_ROLE), f"(?P<role>{'|'.join(Role)})")
        matches = [re.fullmatch(pattern, text) for text in claim_texts(claims, self.path)]
        return [
            (names.get("project") or self.project or "", Role(names.get("role") or self.role or ""))
            for names in (match.groupdict() for match in matches if match is not None)
        ]

    def is_cluster_admin(self, claims: Mapping[str, Any]) -> bool:
        """Return True if a token's claims give all rights."""
        return self.cluster_admin and self.value in claim_texts(claims, self.path)


class OidcConfiguration(BaseModel):
    """Content of the file."""

    model_config = _STRICT

    issuer: str = Field(min_length=1, max_length=500)
    """Issuer, exactly as its tokens name it."""
    audience: str = Field(min_length=1, max_length=500)
    """Audience that tokens for this control plane have."""
    client_id: str = Field(min_length=1, max_length=500)
    """Application of ``tailrace login --oidc``, registered with the provider as a public client
    with the device flow."""
    console_client_id: str = Field(default="", max_length=500)
    """Application of web consoles, with the code flow; empty for that of ``client_id``."""
    algorithms: list[str] = Field(default=["RS256", "ES256"], min_length=1)
    """Algorithms of signatures that are accepted."""
    scopes: list[str] = Field(default=["openid", "offline_access"], min_length=1, max_length=50)
    """Scopes of OAuth that a login asks for."""
    send: Literal["access_token", "id_token"] = "access_token"
    """Token of a login that commands send. ``id_token`` is for providers whose access tokens are
    not JWTs, and needs ``audience`` to be the ``client_id``."""
    allow_loopback_http: bool = False
    """True to admit a provider without TLS on this machine, for tests."""
    grants: list[Grant] = Field(default=[], max_length=1000)
    """Rights by claims; of several roles in a project the highest counts."""

    @field_validator("algorithms")
    @classmethod
    def _are_public(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in ALGORITHMS:
                raise ValueError(f"{name[:100]!r} must be one of {', '.join(ALGORITHMS)}")
        return names

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        try:
            self.web.check(self.issuer)
        except WebError as error:
            raise ValueError(f"issuer: {error}") from error
        if self.send == "id_token" and self.audience != self.client_id:
            raise ValueError("send: id_token needs audience to be the client_id")
        return self

    @property
    def web(self) -> Web:
        """Bounds of requests to the provider."""
        return Web(loopback_http=self.allow_loopback_http, seconds=5.0)

    @property
    def console_app(self) -> str:
        """Client id of web consoles."""
        return self.console_client_id or self.client_id

    def rights(self, claims: Mapping[str, Any]) -> tuple[dict[str, Role], bool]:
        """Return the roles by project that claims give, and True for a cluster admin."""
        order = list(Role)
        roles: dict[str, Role] = {}
        for grant in self.grants:
            for project, role in [] if grant.cluster_admin else grant.roles(claims):
                roles[project] = max(role, roles.get(project, role), key=order.index)
        return roles, any(grant.is_cluster_admin(claims) for grant in self.grants)


def claim_texts(claims: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Return the texts of a claim, which is a text or a list; none for other values.

    An address that the provider has not verified may be anybody's, so that it does not count.
    """
    if path == ("email",) and claims.get("email_verified") is not True:
        return []
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def load(path: Path) -> OidcConfiguration:
    """Return the configuration in a file.

    Raises:
        ValueError: The file cannot be read, or a key is wrong; names the file and every key.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"TAILRACE_OIDC_FILE: cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"TAILRACE_OIDC_FILE: {path} has more than {MAX_BYTES} bytes")
    try:
        document = read_object(content)
        if is_deep(document):
            raise ValueError("is nested too deeply")
        return OidcConfiguration.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(
            ": ".join(filter(None, (".".join(map(str, detail["loc"])), detail["msg"])))
            for detail in error.errors()[:10]
        )
        raise ValueError(f"TAILRACE_OIDC_FILE: {path}: {problems}") from error
    except ValueError as error:
        raise ValueError(f"TAILRACE_OIDC_FILE: {path} {error}") from error
