"""Binding of a worker's credential to a name and pools, which limits what a stolen one can do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from services.domain.errors import PermissionDenied


@dataclass(frozen=True)
class WorkerBinding:
    """Name and pools for which a credential counts."""

    worker_id: str = ""
    """Worker that the credential belongs to; empty for any name that is free."""
    pools: frozenset[str] | None = None
    """Pools that the worker may serve; ``None`` for any."""

    def joined(self, other: WorkerBinding) -> WorkerBinding:
        """Return the binding of a call with two credentials, such as a certificate and a token.

        Raises:
            PermissionDenied: They belong to different workers (WORKER_BINDING).
        """
        if self.worker_id and other.worker_id:
            self.require_worker(other.worker_id)
        pools = self.pools
        if other.pools is not None:
            pools = other.pools if pools is None else pools & other.pools
        return WorkerBinding(self.worker_id or other.worker_id, pools)

    def require_worker(self, worker_id: str) -> None:
        """Raise ``PermissionDenied`` (WORKER_BINDING) for the name of another worker."""
        if self.worker_id and worker_id != self.worker_id:
            raise PermissionDenied(
                "WORKER_BINDING",
                f"this credential belongs to workers/{self.worker_id}, not to "
                f"workers/{worker_id[:63]}: set TAILRACE_WORKER_NAME={self.worker_id}, or use the "
                "certificate and token of the other worker",
            )

    def require_pools(self, pools: Collection[str]) -> None:
        """Raise ``PermissionDenied`` (WORKER_BINDING) for a pool that it does not include."""
        foreign = sorted(set(pools) - self.pools) if self.pools is not None else []
        if foreign:
            raise PermissionDenied(
                "WORKER_BINDING",
                f"this credential does not include the pool {foreign[0][:63]}: set TAILRACE_POOLS "
                f"to {', '.join(sorted(self.pools or ())) or 'nothing'}, or use another credential",
            )


ANY_WORKER = WorkerBinding()
"""Binding of the worker token, which belongs to no worker in particular."""
