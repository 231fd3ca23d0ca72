"""A small OpenID provider: discovery, rotating keys, code flow with PKCE, device flow, refresh.

It signs with PyJWT, checks what a provider must check, and can misbehave on request.
"""

from __future__ import annotations

import http.server
import json
import secrets
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tailrace.oidc.code_flow import challenge

CLIENT_ID = "tailrace-cli"
AUDIENCE = "tailrace"
REDIRECT_URI = "http://127.0.0.1:1/callback"

Form = dict[str, str]
Answer = tuple[int, dict[str, Any]]


@dataclass
class Grant:
    """A code of the code flow or of a device, before it becomes tokens."""

    form: Form
    subject: str = ""
    refused: bool = False


@dataclass
class OidcProvider:
    """State of a provider; its methods are called by tests and by its HTTP threads."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    """Further claims of all tokens."""
    lifetime: int = 300
    """Seconds for which tokens are valid."""
    key_ids: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Paths of the requests so far."""
    faults: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = field(
        default_factory=dict
    )
    """Behaviour in place of the usual one, by path."""

    def __post_init__(self) -> None:
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self._codes: dict[str, Grant] = {}
        self._devices: dict[str, Grant] = {}
        self._refresh: dict[str, tuple[str, Form]] = {}
        self.polls = 0
        self.rotate()

    # Keys and tokens

    def rotate(self, *, keep: int = 1) -> None:
        """Sign with a new key from now on, and publish it with the ``keep`` newest earlier ones."""
        key_id = f"key-{len(self.key_ids) + 1}"
        self.key_ids.append(key_id)
        self._keys[key_id] = ec.generate_private_key(ec.SECP256R1())
        self._published = self.key_ids[-1 - keep :]

    def jwks(self) -> dict[str, Any]:
        algorithm = jwt.get_algorithm_by_name("ES256")
        keys = []
        for key_id in self._published:
            entry = json.loads(algorithm.to_jwk(self._keys[key_id].public_key()))  # type: ignore[attr-defined]
            keys.append({**entry, "kid": key_id, "use": "sig", "alg": "ES256"})
        return {"keys": keys}

    def token(self, subject: str = "ada", *, audience: Any = AUDIENCE, **claims: Any) -> str:
        """A signed token; a claim of None is left out."""
        now = int(time.time())
        content = {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + self.lifetime,
            **self.claims,
            **claims,
        }
        key_id = self.key_ids[-1]
        return jwt.encode(
            {name: value for name, value in content.items() if value is not None},
            self._keys[key_id],
            algorithm="ES256",
            headers={"kid": key_id},
        )

    def private_key(self) -> ec.EllipticCurvePrivateKey:
        return self._keys[self.key_ids[-1]]

    # The user's part

    def authorize(self, url: str, subject: str = "ada") -> Form:
        """Do what a browser does at the URL, as a user who agrees; the query of the return."""
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["client_id"] == CLIENT_ID
        assert query["redirect_uri"] == REDIRECT_URI
        code = secrets.token_urlsafe(16)
        self._codes[code] = Grant(query, subject)
        return {"code": code, "state": query["state"], "iss": self.issuer}

    def approve(self, user_code: str, subject: str = "ada") -> None:
        self._device(user_code).subject = subject

    def refuse(self, user_code: str) -> None:
        self._device(user_code).refused = True

    def user_codes(self) -> list[str]:
        return [grant.form["user_code"] for grant in self._devices.values()]

    def end_logins(self) -> None:
        """Forget all refresh tokens, as when an administrator removes a user's sessions."""
        self._refresh.clear()

    def _device(self, user_code: str) -> Grant:
        return next(g for g in self._devices.values() if g.form["user_code"] == user_code)

    # Endpoints

    def document(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def start_device(self, form: Form) -> Answer:
        device_code, user_code = secrets.token_urlsafe(16), secrets.token_hex(4).upper()
        self._devices[device_code] = Grant({**form, "user_code": user_code})
        page = f"{self.issuer}/activate"
        return 200, {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={user_code}",
            "expires_in": 60,
            "interval": 0,
        }

    def exchange(self, form: Form) -> Answer:
        if form.get("client_id") != CLIENT_ID:
            return 401, {"error": "invalid_client"}
        match form.get("grant_type"):
            case "authorization_code":
                grant = self._codes.pop(form["code"], None)
                if (
                    grant is None
                    or challenge(form["code_verifier"]) != grant.form["code_challenge"]
                    or form["redirect_uri"] != grant.form["redirect_uri"]
                ):
                    return 400, {"error": "invalid_grant", "error_description": "no such code"}
                return self._issue(grant.subject, grant.form)
            case "urn:ietf:params:oauth:grant-type:device_code":
                return self._poll(form["device_code"])
            case "refresh_token":
                # Each refresh token is valid once.
                login = self._refresh.pop(form["refresh_token"], None)
                if login is None:
                    return 400, {"error": "invalid_grant", "error_description": "login has ended"}
                return self._issue(*login)
        return 400, {"error": "unsupported_grant_type"}

    def _poll(self, device_code: str) -> Answer:
        self.polls += 1
        grant = self._devices.get(device_code)
        if grant is None:
            return 400, {"error": "expired_token"}
        if grant.refused:
            return 400, {"error": "access_denied", "error_description": "the user said no"}
        if not grant.subject:
            return 400, {"error": "authorization_pending"}
        del self._devices[device_code]
        return self._issue(grant.subject, grant.form)

    def _issue(self, subject: str, form: Form) -> Answer:
        refresh_token = secrets.token_urlsafe(16)
        self._refresh[refresh_token] = (subject, form)
        nonce = form.get("nonce")
        return 200, {
            "access_token": self.token(subject),
            "id_token": self.token(subject, audience=CLIENT_ID, nonce=nonce),
            "refresh_token": refresh_token,
            "token_type": "Bearer",
            "expires_in": self.lifetime,
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    provider: OidcProvider

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        self.provider.requests.append(path)
        if path in self.provider.faults:
            self.provider.faults[path](self)
        elif path == "/.well-known/openid-configuration":
            self.answer(200, self.provider.document())
        elif path == "/keys":
            self.answer(200, self.provider.jwks())
        else:
            self.answer(404, {})

    def do_POST(self) -> None:
        path = self.path
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        self.provider.requests.append(path)
        if path in self.provider.faults:
            self.provider.faults[path](self)
        elif path == "/device":
            self.answer(*self.provider.start_device(form))
        elif path == "/token":
            self.answer(*self.provider.exchange(form))
        else:
            self.answer(404, {})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        del args


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of some tests hang up."""


@contextmanager
def oidc_provider() -> Iterator[OidcProvider]:
    """Serve a provider on a free port of loopback."""
    provider = OidcProvider()
    handler = type("Handler", (_Handler,), {"provider": provider})
    with _Server(("127.0.0.1", 0), handler) as server:
        provider.issuer = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()


def redirect(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Answer with a redirect to the same path of another host."""
    handler.send_response(302)
    handler.send_header("Location", "http://127.0.0.2:9/keys")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def huge(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Answer with a body without end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


def slow_header(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send a header byte by byte, without end."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
    _drip(handler)


def slow_body(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send a body byte by byte, without end."""
    handler.send_response(200)
    handler.end_headers()
    _drip(handler)


def silence(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send nothing until the client hangs up."""
    handler.connection.settimeout(30)
    handler.connection.recv(1, socket.MSG_PEEK)


def _drip(handler: http.server.BaseHTTPRequestHandler) -> None:
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)
