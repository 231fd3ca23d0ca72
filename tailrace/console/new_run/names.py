"""Names that a field of the form could hold, to choose from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from tailrace.client.aio import AsyncClient
from tailrace.errors import PermissionDenied
from tailrace.formats import catalog
from tailrace.formats.spec.judge_spec import JUDGES

_LIMIT = 200
"""Maximum number of names of one kind."""

Suggestions = Mapping[str, Sequence[str]]
"""Names by path; ``[]`` stands for any index."""

BUILT_IN: Suggestions = {
    "model.preset": tuple(catalog.PRESETS),
    "judges[].name": tuple(JUDGES),
    "train.grpo.rewards[].judge.name": tuple(JUDGES),
    "infer.eval_sets": (*catalog.DATASET_EVAL_SETS, *catalog.EVAL_SETS),
}
"""Names that every installation has."""


async def suggestions(client: AsyncClient) -> Suggestions:
    """Return the names that the control plane knows.

    Raises:
        TailraceError: A call failed; one that the visitor may not make has no names.
    """
    datasets, eval_sets, models, pools = await asyncio.gather(
        _names(d.dataset_id async for d in client.list_datasets(limit=_LIMIT)),
        _names(e.eval_set_id async for e in client.list_eval_sets(limit=_LIMIT)),
        _names(m.name async for m in client.list_models(limit=_LIMIT)),
        _pools(client),
    )
    imported = tuple(dict.fromkeys(models))
    pool_paths = dict.fromkeys(f"execution.{stage}.pool" for stage in ("train", "infer", "judge"))
    return {
        **BUILT_IN,
        "dataset": datasets,
        "infer.eval_sets": (*BUILT_IN["infer.eval_sets"], *eval_sets),
        "model.source": imported,
        "train.distill.teacher": imported,
        **dict.fromkeys(pool_paths, pools),
    }


async def _names(names: AsyncIterator[str]) -> Sequence[str]:
    try:
        return [name async for name in names]
    except PermissionDenied:
        return ()


async def _pools(client: AsyncClient) -> Sequence[str]:
    try:
        return [pool.name for pool in (await client.list_pools()).pools]
    except PermissionDenied:
        return ()
