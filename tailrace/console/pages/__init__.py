"""Pages of the console, one module each with its routes."""

from __future__ import annotations

from starlette.routing import BaseRoute

from tailrace.console.pages import history, login

NAVIGATION = (("Runs", "/runs"),)
"""Label and path of each page in the navigation, in its order."""

ROUTES: list[BaseRoute] = [*history.ROUTES, *login.ROUTES]
"""Routes of all pages."""
