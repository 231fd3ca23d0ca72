"""Server, access and project of a client, from arguments, the environment and the current profile.

An argument takes precedence over a variable, and a variable over the profile. A profile counts only
for its own server: its token is never sent to another one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tailrace.access import INSECURE_VARIABLE, Access, AccessError
from tailrace.channel import DEFAULT_SERVER, SERVER_VARIABLE, server_address
from tailrace.oidc.profile_token import ProfileToken
from tailrace.private_file import FollowedSecret, read_private
from tailrace.profiles import Profile, ProfileError, Profiles
from tailrace.tls_files import TlsFiles

TLS_VARIABLE = "TAILRACE_TLS"
CA_VARIABLE = "TAILRACE_CA_FILE"
CERTIFICATE_VARIABLE = "TAILRACE_CERT_FILE"
KEY_VARIABLE = "TAILRACE_KEY_FILE"
TOKEN_VARIABLE = "TAILRACE_TOKEN_FILE"
PROFILE_VARIABLE = "TAILRACE_PROFILE"
PROJECT_VARIABLE = "TAILRACE_PROJECT"
CONSOLE_VARIABLE = "TAILRACE_CONSOLE_URL"
"""Variable with the URL of the console, to which commands point."""

VARIABLES = {
    TLS_VARIABLE: "TLS with the public authorities; implied by the variables below.",
    CA_VARIABLE: "PEM file with the authorities to trust for TLS, such as `ca.crt` of "
    "`tailrace certs init`.",
    CERTIFICATE_VARIABLE: "PEM file with the client's certificate, for a listener that requires "
    "one.",
    KEY_VARIABLE: "PEM file with its private key, mode 0600.",
    TOKEN_VARIABLE: "File with the API token, mode 0600; read again after changes.",
    PROFILE_VARIABLE: "Name of the profile to use in place of the current one.",
    PROJECT_VARIABLE: "Project of all calls, in place of that of the profile.",
    INSECURE_VARIABLE: "`true` to send the token in plaintext to another machine.",
}
"""Meaning of each variable of a client's access, for the page of settings."""

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("", "0", "false", "no", "off")


def resolve(
    server: str | None = None, access: Access | None = None, project: str | None = None
) -> tuple[str, Access]:
    """Return the address of a client's server and the access to it.

    Args:
        server: ``host:port``; ``None`` for that of the variable, else of the profile, else
            :data:`DEFAULT_SERVER`.
        access: Access that counts in place of the environment's and the profile's.
        project: Project that counts in place of theirs.

    Raises:
        ValueError: The address is a URL, a variable is wrong, or the profile cannot be used
            (``AccessError``, ``ProfileError``).
    """
    if server is not None and access is not None:
        return server_address(server), _in_project(access, project)
    named = server or os.environ.get(SERVER_VARIABLE)
    name, profile = _profile(named)
    address = server_address(named or (profile.server if profile else DEFAULT_SERVER))
    resolved = access or _access(profile or Profile(address), os.environ, name)
    return address, _in_project(resolved, project)


def _profile(server: str | None) -> tuple[str, Profile | None]:
    """Return the name and profile that count for a server, or for no server in particular."""
    name = os.environ.get(PROFILE_VARIABLE, "")
    profiles = Profiles.load()
    if name:
        profile = profiles.get(name)
        if server is not None and server != profile.server:
            raise ProfileError(
                f"the profile {name!r} is for {profile.server}, not for {server}: leave one of the "
                "two out"
            )
        return name, profile
    current = profiles.by_name.get(profiles.current)
    is_meant = current is not None and server in (None, current.server)
    return (profiles.current, current) if is_meant else ("", None)


def _access(profile: Profile, variables: Mapping[str, str], name: str = "") -> Access:
    ca = _path(variables, CA_VARIABLE, profile.ca_file)
    certificate = _path(variables, CERTIFICATE_VARIABLE, profile.cert_file)
    key = _path(variables, KEY_VARIABLE, profile.key_file)
    if (certificate is None) != (key is None):
        raise AccessError(f"{CERTIFICATE_VARIABLE} and {KEY_VARIABLE} must be set together")
    files = TlsFiles(ca, certificate, key)
    has_tls = _flag(variables, TLS_VARIABLE, profile.tls) or files != TlsFiles()
    token_file = _path(variables, TOKEN_VARIABLE, "")
    token = None
    if token_file is not None:
        secret = FollowedSecret(token_file, read_token)
        token = lambda: secret.value  # noqa: E731
    elif profile.refresh_token and name:
        token = ProfileToken(name, profile)
    elif profile.token:
        token = lambda: profile.token  # noqa: E731
    return Access(
        tls=files if has_tls else None,
        token=token,
        insecure=_flag(variables, INSECURE_VARIABLE, profile.insecure),
        project=_project_id(variables.get(PROJECT_VARIABLE) or profile.project),
    )


def profile_access(profile: Profile) -> Access:
    """Return the access of a profile alone, whatever the environment says.

    Raises:
        AccessError: Of certificate and key, one is missing.
    """
    return _access(profile, {})


def read_token(path: Path) -> str:
    """Return the API token of a file.

    Raises:
        AccessError: The file is missing, open to others, or holds no token.
    """
    try:
        text = read_private(path, "the token file").decode("latin-1").strip()
    except OSError as error:
        raise AccessError(f"cannot read the token file {path}: {error.strerror}") from error
    except ValueError as error:
        raise AccessError(str(error)) from error
    if not text or not text.isprintable() or not text.isascii() or " " in text:
        raise AccessError(f"{path} does not hold a token on one line")
    return text


def _in_project(access: Access, project: str | None) -> Access:
    return replace(access, project=_project_id(project)) if project else access


def _project_id(project: str) -> str:
    """Return the id of ``{project}`` or ``projects/{project}``; empty for none."""
    project_id = project.removeprefix("projects/")
    if project_id and not re.fullmatch("[a-z0-9-]{1,63}", project_id):
        raise AccessError(
            f"{project!r} is not a project's id: `tailrace projects list` shows yours; set "
            f"--project or {PROJECT_VARIABLE}"
        )
    return project_id


def _path(variables: Mapping[str, str], variable: str, stored: str) -> Path | None:
    text = variables.get(variable) or stored
    return Path(text) if text else None


def _flag(variables: Mapping[str, str], variable: str, stored: bool) -> bool:
    text = variables.get(variable)
    if text is None:
        return stored
    if text.lower() not in _TRUE + _FALSE:
        raise AccessError(f"{variable} must be true or false, not {text!r}")
    return text.lower() in _TRUE
