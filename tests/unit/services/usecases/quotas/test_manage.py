"""Quotas as administrators set them, and as members of a project see them."""

from __future__ import annotations

import dataclasses

import pytest

from services.domain.caller import Caller
from services.domain.errors import InvalidInput, NotFound
from services.domain.quota import MAX_LIMIT, Quota
from services.domain.scope import Scope
from services.usecases.quotas.manage import Change, QuotaState, get_quotas, set_quotas
from tests.unit.services.driver import CALLER, PROJECT, Driver

READER = dataclasses.replace(CALLER, scopes=frozenset({Scope.READ}))


async def state(driver: Driver, quota: Quota) -> QuotaState:
    states = await get_quotas(driver.context, READER, PROJECT)
    assert [entry.quota for entry in states] == list(Quota)
    return next(entry for entry in states if entry.quota is quota)


async def test_a_limit_is_set_lifted_and_reset(driver: Driver) -> None:
    context, quota = driver.context, Quota.UNFINISHED_RUNS
    await driver.create()
    assert await state(driver, quota) == QuotaState(quota, None, False, 1)
    await set_quotas(context, CALLER, PROJECT, [Change(quota, 0)])
    assert await state(driver, quota) == QuotaState(quota, 0, True, 1)
    await set_quotas(context, CALLER, PROJECT, [Change(quota, None)])
    assert await state(driver, quota) == QuotaState(quota, None, True, 1)
    changes = [Change(quota, reset=True), Change(Quota.OPEN_STREAMS, 4)]
    await set_quotas(context, CALLER, PROJECT, changes)
    assert await state(driver, quota) == QuotaState(quota, None, False, 1)
    assert await state(driver, Quota.OPEN_STREAMS) == QuotaState(Quota.OPEN_STREAMS, 4, True, None)


async def test_wrong_changes_are_all_named(driver: Driver) -> None:
    quota = Quota.RUNNING_RUNS
    changes = [Change(quota, -1), Change(quota, 1), Change(Quota.OPEN_STREAMS, MAX_LIMIT + 1)]
    with pytest.raises(InvalidInput) as error:
        await set_quotas(driver.context, CALLER, PROJECT, changes)
    fields = [violation.field for violation in error.value.violations]
    assert fields == ["changes[0].limit", "changes[1].kind", "changes[2].limit"]


async def test_other_projects_look_as_if_they_did_not_exist(driver: Driver) -> None:
    stranger = Caller("other", frozenset({Scope.READ}))
    with pytest.raises(NotFound, match="does not exist"):
        await get_quotas(driver.context, stranger, PROJECT)
    with pytest.raises(NotFound):
        await set_quotas(driver.context, CALLER, "missing", [Change(Quota.OPEN_STREAMS, 1)])
