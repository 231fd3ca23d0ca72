"""Limits of projects as this process knows them: the settings, and what the database overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.domain.quota import Quota
from services.settings import Settings

Overrides = Mapping[str, Mapping[Quota, int | None]]
"""Limits by project and quota; ``None`` for no limit."""


class ProjectLimits:
    """Limits of every project."""

    def __init__(self, settings: Settings) -> None:
        self.defaults: Mapping[Quota, int | None] = {
            Quota.UNFINISHED_RUNS: settings.max_unfinished_runs,
            Quota.RUNNING_RUNS: settings.max_running_runs,
            Quota.STORED_BYTES: settings.max_stored_bytes,
            Quota.REQUESTS_PER_SECOND: settings.max_requests_per_second,
            Quota.CALLER_REQUESTS_PER_SECOND: settings.max_caller_requests_per_second,
            Quota.OPEN_STREAMS: settings.max_project_streams,
            Quota.UPLOAD_BYTES: settings.max_upload_bytes,
        }
        """Limits of projects without an override."""
        self._overrides: Overrides = {}

    def replace(self, overrides: Overrides) -> None:
        """Replace the overrides of all projects by those that were read last."""
        self._overrides = overrides

    def replace_project(self, project: str, limits: Mapping[Quota, int | None]) -> None:
        """Replace the overrides of one project."""
        self._overrides = {**self._overrides, project: limits}

    def limit(self, project: str, quota: Quota) -> int | None:
        """Return a project's limit; ``None`` for no limit."""
        limits = self._overrides.get(project)
        if limits is not None and quota in limits:
            return limits[quota]
        return self.defaults[quota]

    def overridden(self, quota: Quota) -> Iterator[str]:
        """Yield the projects whose limit of a quota is not the default."""
        return (project for project, limits in self._overrides.items() if quota in limits)
