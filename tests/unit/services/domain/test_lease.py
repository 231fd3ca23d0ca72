from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from services.domain.lease import derive, grant, parse_task_id, parse_token
from tailrace.formats.dispatch import TaskId

TASK = TaskId("f" * 32, "train", 1)


def test_the_same_delivery_gets_the_same_token_and_no_other_opens() -> None:
    lease = grant(TASK, "delivery")
    assert derive(TASK, "delivery", lease.salt) == lease.token
    assert lease.token.matches(lease.digest)
    assert not derive(TASK, "other delivery", lease.salt).matches(lease.digest)
    later = dataclasses.replace(TASK, attempt=2)
    assert not derive(later, "delivery", lease.salt).matches(lease.digest)
    assert not grant(TASK, "delivery").token.matches(lease.digest)
    assert lease.token.secret not in (lease.salt, lease.digest)


def test_tokens_survive_their_text() -> None:
    token = grant(TASK, "delivery").token
    assert parse_token(str(token)) == token


@given(st.text())
def test_nonsense_is_no_token(text: str) -> None:
    token = parse_token(text)
    assert token is None or not token.matches(grant(TASK, "delivery").digest)


def test_only_task_ids_of_ours_are_parsed() -> None:
    assert parse_task_id(str(TASK)) == TASK
    uid = "f" * 32
    for text in ("", "a.b", f"{uid}.train.0", f"{uid}.train.1x", f"{uid}.tr\0ain.1", "x.train.1"):
        assert parse_task_id(text) is None
    assert parse_task_id(f"{uid}.train.{2**40}") is None
