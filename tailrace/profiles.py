"""Profiles: servers that a user logs in to, each with its TLS files and token.

They are stored in ``$XDG_CONFIG_HOME/tailrace/profiles.json`` (``~/.config`` without the variable),
a file that only its owner may read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from tailrace.private_file import exposure


class ProfileError(ValueError):
    """Error of the profile file or of a profile's name; the message names the way out."""


@dataclass(frozen=True)
class Profile:
    """One server and the access to it."""

    server: str
    """Address, ``host:port``."""
    tls: bool = False
    """True for TLS."""
    ca_file: str = ""
    """File of the authorities to trust; empty for the public ones."""
    cert_file: str = ""
    """File of the client's certificate, for a server that requires one."""
    key_file: str = ""
    """File of its private key."""
    token: str = field(default="", repr=False)
    """API token, or the token of a login; empty for none."""
    issuer: str = ""
    """OpenID provider of the login; empty for an API token."""
    client_id: str = ""
    """Application of the login."""
    refresh_token: str = field(default="", repr=False)
    """Secret that renews the token; empty if the provider gave none."""
    expire_time: int = 0
    """Time at which the login's token expires, in seconds since the epoch."""
    sends_id_token: bool = False
    """True if the token is the ID token of the login."""
    insecure: bool = False
    """True to send the token in plaintext to another machine."""
    project: str = ""
    """Project of the calls; empty for that of the token, else ``default``."""


@dataclass(frozen=True)
class Profiles:
    """All profiles of a user, by name."""

    by_name: Mapping[str, Profile] = field(default_factory=dict)
    current: str = ""
    """Name of the profile in use; empty for none."""

    @classmethod
    def load(cls) -> Profiles:
        """Return the stored profiles; none if there is no file.

        Raises:
            ProfileError: The file is open to others or malformed.
        """
        path = file_path()
        try:
            with path.open("rb") as file:
                problem = exposure(path, os.fstat(file.fileno()))
                content = file.read()
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise ProfileError(f"cannot read the profiles in {path}: {error.strerror}") from error
        if problem:
            raise ProfileError(f"the profiles hold tokens: {problem}")
        try:
            return _parsed(json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProfileError(
                f"{path} is not a file of profiles: remove it, then `tailrace login` again"
            ) from error

    def get(self, name: str) -> Profile:
        """Return a profile; raise ``ProfileError`` if there is none of this name."""
        try:
            return self.by_name[name]
        except KeyError:
            raise ProfileError(
                f"there is no profile {name!r}: `tailrace profiles list` names all, "
                "`tailrace login` creates one"
            ) from None

    def with_profile(self, name: str, profile: Profile) -> Profiles:
        """Return the profiles with one added or replaced, which becomes the current one."""
        return Profiles({**self.by_name, name: profile}, name)

    def updated(self, name: str, profile: Profile) -> Profiles:
        """Return the profiles with one replaced, and the same current one."""
        return replace(self, by_name={**self.by_name, name: profile})

    def without(self, name: str) -> Profiles:
        """Return the profiles without one; raise ``ProfileError`` if there is none of the name."""
        self.get(name)
        remaining = {key: profile for key, profile in self.by_name.items() if key != name}
        return Profiles(remaining, "" if self.current == name else self.current)

    def using(self, name: str) -> Profiles:
        """Return the profiles with another current one; raise ``ProfileError``."""
        self.get(name)
        return replace(self, current=name)

    @staticmethod
    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        """Keep other programs from replacing the file for the duration of the block.

        Raises:
            OSError: The lock cannot be created.
        """
        path = file_path().with_suffix(".lock")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def save(self) -> None:
        """Replace the file as a whole. Raises ``OSError``."""
        path = file_path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {
            "current": self.current,
            "profiles": {name: asdict(profile) for name, profile in self.by_name.items()},
        }
        # Created with mode 0600.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor, not a path
                json.dump(content, file, indent=2)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def file_path() -> Path:
    """Return the path of the file of profiles."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification says to ignore a relative path.
    is_absolute = Path(configured).is_absolute()
    folder = Path(configured) if is_absolute else Path.home() / ".config"
    return folder / "tailrace" / "profiles.json"


def _parsed(content: dict[str, object]) -> Profiles:
    stored = content["profiles"]
    if not isinstance(stored, dict):
        raise TypeError("profiles must be an object")
    kinds = {entry.name: entry.type for entry in fields(Profile)}
    by_name = {}
    for name, values in stored.items():
        for key, value in values.items():
            if type(value).__name__ != kinds[key]:
                raise TypeError(f"{key} must be of type {kinds[key]}")
        by_name[name] = Profile(**values)
    return Profiles(by_name, str(content["current"]))
