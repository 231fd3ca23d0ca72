"""Pages of the console, one module each with its routes."""

from __future__ import annotations

from starlette.routing import BaseRoute

from tailrace.console.pages import (
    compare,
    datasets,
    eval_sets,
    fleet,
    history,
    leaderboard,
    login,
    models,
    new_run,
    run,
    run_changes,
    run_curves,
    run_files,
    run_logs,
    run_predictions,
)

NAVIGATION = (
    ("Runs", "/runs"),
    ("New run", "/runs/new"),
    ("Leaderboard", "/leaderboard"),
    ("Datasets", "/datasets"),
    ("Eval sets", "/evalsets"),
    ("Models", "/models"),
    ("Fleet", "/fleet"),
)
"""Label and path of each page in the navigation, in its order."""

ROUTES: list[BaseRoute] = [
    *new_run.ROUTES,
    *history.ROUTES,
    *compare.ROUTES,
    *leaderboard.ROUTES,
    *run.ROUTES,
    *run_logs.ROUTES,
    *run_curves.ROUTES,
    *run_predictions.ROUTES,
    *run_files.ROUTES,
    *run_changes.ROUTES,
    *datasets.ROUTES,
    *eval_sets.ROUTES,
    *models.ROUTES,
    *fleet.ROUTES,
    *login.ROUTES,
]
"""Routes of all pages."""
