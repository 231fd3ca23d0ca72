"""Remote control: what workers obey, and what they refuse with the way out."""

from __future__ import annotations

import pytest
from celery.worker import state
from celery.worker.control import Panel

from workers.remote_control import ALLOWED, REFUSED, restrict


def test_every_command_of_celery_is_allowed_or_refused_with_advice() -> None:
    assert set(Panel.data) == ALLOWED | set(REFUSED)
    assert not ALLOWED & set(REFUSED)


def test_a_refused_command_changes_nothing_and_names_the_way_out() -> None:
    panel = dict(Panel.data)
    restrict(panel)
    answer = panel["revoke"](None, task_id="uid.train.1", terminate=True)
    assert "tailrace runs cancel" in answer["error"]
    assert "uid.train.1" not in state.revoked
    for name in REFUSED:
        assert set(panel[name](None)) == {"error"}
    assert panel["ping"] is Panel.data["ping"]


def test_a_command_that_celery_gains_is_refused() -> None:
    panel = {"reboot": pytest.fail}
    restrict(panel)
    assert "reboot" in panel["reboot"](None)["error"]


def test_a_greeting_brings_no_revoked_ids() -> None:
    greeted = []
    panel = {"hello": lambda _state, node, revoked=None: greeted.append((node, revoked))}
    restrict(panel)
    panel["hello"](None, "celery@other", revoked=["uid.train.1"])
    assert greeted == [("celery@other", None)]
