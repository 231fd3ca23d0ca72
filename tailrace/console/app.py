"""Composition of the console: client, pages, checks."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tailrace.access import Access
from tailrace.client.aio import AsyncClient
from tailrace.console import failures, pages
from tailrace.console.guard import Guard, allowed_names
from tailrace.console.settings import Settings
from tailrace.console.static_files import StaticFiles
from tailrace.console.visitor import Cookies, VisitorMiddleware, read_keys, visitor_access
from tailrace.errors import TailraceError
from tailrace.retry import RetryPolicy

_RETRY = RetryPolicy(attempts=1)
"""Policy of the console's calls: a page says at once that the control plane is away."""

_CALL_SECONDS = 30.0


def create_app(settings: Settings, server: str, access: Access) -> Starlette:
    """Return the application for a control plane.

    Args:
        settings: Settings of the console.
        server: Address of the control plane.
        access: TLS files for it; a token in it is not used: visitors bring theirs.

    Raises:
        OSError: The key file cannot be read or created.
        ValueError: It holds no keys, or visitors' tokens would travel in plaintext.
    """
    cookies = Cookies(read_keys(settings.key_file))
    visitors = visitor_access(access)
    visitors.require_protection(server)
    static = StaticFiles()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncClient(
            server, access=visitors, retry=_RETRY, timeout=_CALL_SECONDS
        ) as client:
            app.state.client = client
            yield

    app = Starlette(
        routes=[
            Route("/health", _health),
            Route("/static/{name:path}", static.serve),
            *pages.ROUTES,
        ],
        middleware=[
            Middleware(Guard, names=allowed_names(settings.listen, settings.hosts)),
            Middleware(VisitorMiddleware, cookies=cookies),
        ],
        exception_handlers={
            TailraceError: failures.failed_call,
            HTTPException: failures.refused,
            Exception: failures.fault,
        },
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.cookies = cookies
    app.state.static = static
    app.state.navigation = pages.NAVIGATION
    return app


async def _health(request: Request) -> PlainTextResponse:
    """Return 200 while this process serves; the control plane has its own health check."""
    del request
    return PlainTextResponse("ok\n")
