"""Pages of the console, one module each with its routes."""

from __future__ import annotations

from starlette.routing import BaseRoute

from tailrace.console.pages import datasets, eval_sets, fleet, history, login, models, new_run

NAVIGATION = (
    ("Runs", "/runs"),
    ("New run", "/runs/new"),
    ("Datasets", "/datasets"),
    ("Eval sets", "/evalsets"),
    ("Models", "/models"),
    ("Fleet", "/fleet"),
)
"""Label and path of each page in the navigation, in its order."""

ROUTES: list[BaseRoute] = [
    *new_run.ROUTES,
    *history.ROUTES,
    *datasets.ROUTES,
    *eval_sets.ROUTES,
    *models.ROUTES,
    *fleet.ROUTES,
    *login.ROUTES,
]
"""Routes of all pages."""
