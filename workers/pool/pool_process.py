"""State of a pool process during its whole life: its slot, its channel and its folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from celery import current_app, signals

from tailrace.channel import connect
from tailrace.undumpable import forbid_reading
from tailrace.worker_token import WorkerToken
from workers.accelerators import Accelerator, detect, make_slots
from workers.app import CONTROL_KEY, SETTINGS_KEY
from workers.attempt.cache import BlobCache
from workers.attempt.content import Content
from workers.attempt.run import WorkerResources
from workers.pool.child_socket import ChildSocket
from workers.process.clean_slot import CleanSlot
from workers.process.memory_limit import share_bytes
from workers.process.prewarmed import Prewarmer
from workers.settings import Settings
from workers.stage_client import StageClient


class PoolProcess:
    """State of this pool process, created when it starts, or else with its first task."""

    _instance: ClassVar[PoolProcess | None] = None

    def __init__(self, settings: Settings, control_socket: Path) -> None:
        """Take a slot from the parent and open the channel.

        Raises:
            ControlSocketError: The parent assigns no slot.
            AcceleratorError: The host's devices have changed.
            WorkerTokenError: There is no valid worker token any more.
            TlsFilesError: The TLS files cannot be used any more.
        """
        self.settings = settings
        self.socket = ChildSocket(control_socket)
        slots = make_slots(detect(), settings.accelerator, settings.slots)
        self.slot = next(slot for slot in slots if slot.id == self.socket.slot)
        self.workspace: Path = settings.work_dir.absolute() / settings.worker_name
        self.clean_slot = CleanSlot(
            self.workspace / self.slot.id,
            self.slot.devices if self.slot.accelerator is Accelerator.GPU else (),
            self.socket.memory_mib,
        )
        token = WorkerToken(settings.worker_token_file)
        channel = connect(settings.server, settings.access(token))
        self.stage_client = StageClient(channel, token)
        cache = BlobCache(settings.cache_dir.absolute(), settings.cache_max_bytes)
        # The workspace, because each attempt removes the slot's folder.
        prewarmer = Prewarmer(self.workspace, enabled=settings.warm_start)
        content = Content(channel, cache)
        memory_bytes = settings.stage_memory_bytes or share_bytes(len(slots))
        self.resources = WorkerResources(
            settings, self.slot, self.stage_client, content, prewarmer, memory_bytes
        )
        # A stage gets all cores of its slot unless it asks for fewer.
        prewarmer.refill(self.resources.launch(len(self.slot.cores)))

    @classmethod
    def get(cls, app: Any) -> PoolProcess:
        """Return the instance of this process, configured by its Celery application."""
        if cls._instance is None:
            cls._instance = cls(Settings(**app.conf[SETTINGS_KEY]), Path(app.conf[CONTROL_KEY]))
        return cls._instance


def _begin(**_: Any) -> None:
    """Create the state early, so that the first task finds a prewarmed stage process."""
    forbid_reading()
    PoolProcess.get(current_app)


signals.worker_process_init.connect(_begin, weak=False)
