"""Context of the use cases."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from services.runtime.amounts import Amounts
from services.runtime.celery_events import CeleryEvents
from services.runtime.group_commit import Groups
from services.runtime.project_limits import ProjectLimits
from services.runtime.relay_queue import RelayQueue
from services.runtime.wakeups import SharedReads, Shutdown, Wakeups
from services.settings import Settings
from services.storage.blobs.store import BlobStores
from services.storage.engine.database import Database


@dataclass(frozen=True)
class Context:
    """Adapters and settings that use cases need; created once by the composition root."""

    settings: Settings
    database: Database
    blobs: BlobStores
    """Content of each project."""
    wakeups: Wakeups = field(default_factory=Wakeups)
    shutdown: Shutdown = field(default_factory=Shutdown)
    reads: SharedReads = field(default_factory=SharedReads)
    groups: Groups = field(default_factory=Groups)
    relay_queue: RelayQueue = field(default_factory=RelayQueue)
    celery_events: CeleryEvents = field(default_factory=CeleryEvents)
    model_checks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Limit of concurrent checks of imported models."""
    uploads: Amounts = field(default_factory=Amounts)
    """Bytes of the unfinished uploads of clients, by project."""
    limits: ProjectLimits = field(init=False)
    """Limits of projects."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", ProjectLimits(self.settings))
