"""The generated pages, by their path in the repository."""

from __future__ import annotations

from collections.abc import Callable

from docs.generate import cli, configuration, errors, metrics, run_spec, sdk

PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/run-spec.md": run_spec.page,
    "docs/reference/configuration.md": configuration.page,
    "docs/reference/errors.md": errors.page,
    "docs/reference/metrics.md": metrics.page,
    "docs/reference/cli.md": cli.page,
    "docs/reference/sdk.md": sdk.page,
}
