from __future__ import annotations

import pytest

from training.serving.queue import FairQueue, FullError


def drain(queue: FairQueue[str], tokens: int = 10) -> list[str]:
    order = []
    while len(queue):
        entry = queue.pop()
        order.append(entry)
        client = entry[0]
        queue.charge(client, tokens)
        queue.end(client)
    return order


def test_entries_of_one_client_come_in_their_order() -> None:
    queue: FairQueue[str] = FairQueue(10, 4)
    for number in range(4):
        queue.add("a", [f"a{number}"])
    assert drain(queue) == ["a0", "a1", "a2", "a3"]


def test_a_second_client_does_not_wait_for_all_of_the_first() -> None:
    queue: FairQueue[str] = FairQueue(10, 4)
    for number in range(4):
        queue.add("a", [f"a{number}"])
    queue.add("b", ["b0"])
    queue.add("b", ["b1"])
    assert drain(queue) == ["a0", "b0", "a1", "b1", "a2", "a3"]


def test_the_client_with_fewer_tokens_comes_first() -> None:
    queue: FairQueue[str] = FairQueue(10, 4)
    queue.add("a", ["a0", "a1", "a2"])
    queue.add("b", ["b0", "b1", "b2"])
    order = []
    for _ in range(6):
        entry = queue.pop()
        order.append(entry[0])
        queue.charge(entry[0], 30 if entry[0] == "a" else 10)
        queue.end(entry[0])
    assert order == ["a", "b", "b", "b", "a", "a"]


def test_a_client_of_which_nothing_runs_comes_first() -> None:
    queue: FairQueue[str] = FairQueue(10, 4)
    queue.add("a", ["a0", "a1"])
    queue.add("b", ["b0"])
    queue.charge("b", 1000)
    assert [queue.pop(), queue.pop()] == ["a0", "b0"]
    assert queue.largest() is None
    assert queue.pop() == "a1"
    assert queue.largest() == "a"


def test_a_client_that_comes_back_neither_owes_nor_saves() -> None:
    queue: FairQueue[str] = FairQueue(10, 4)
    queue.add("a", ["a0", "a1", "a2"])
    assert queue.pop() == "a0"
    queue.charge("a", 1000)
    queue.end("a")
    queue.add("b", ["b0", "b1", "b2"])
    assert drain(queue) == ["b0", "a1", "b1", "a2", "b2"]


def test_a_large_request_is_overtaken_by_the_clients_next_one() -> None:
    queue: FairQueue[str] = FairQueue(100, 2)
    queue.add("a", [f"a0.{part}" for part in range(4)])
    for number in range(1, 5):
        queue.add("a", [f"a{number}"])
    order = drain(queue)
    assert order.index("a1") < order.index("a0.1") < order.index("a4")
    assert order[-1] == "a0.3"


def test_places_are_kept_for_clients_without_any() -> None:
    queue: FairQueue[str] = FairQueue(8, 4)
    for number in range(6):
        queue.add("a", [f"a{number}"])
    with pytest.raises(FullError, match="6 requests are waiting: at most 8 may"):
        queue.add("a", ["a6"])
    queue.add("b", ["b0"])
    queue.add("c", ["c0"])
    with pytest.raises(FullError, match="8 requests are waiting"):
        queue.add("d", ["d0"])


def test_a_request_of_many_parts_takes_one_place() -> None:
    queue: FairQueue[str] = FairQueue(2, 4)
    queue.add("a", ["a0", "a1", "a2"])
    queue.add("b", ["b0"])
    with pytest.raises(FullError, match="2 requests are waiting"):
        queue.add("c", ["c0"])
    assert [queue.pop() for _ in range(4)] == ["a0", "b0", "a1", "a2"]


def test_removed_entries_leave_the_others() -> None:
    queue: FairQueue[str] = FairQueue(10, 4)
    entries = [f"a{number}" for number in range(4)]
    queue.add("a", entries)
    assert queue.remove({id(entries[0]), id(entries[2])}) == ["a0", "a2"]
    assert drain(queue) == ["a1", "a3"]
    assert queue.starved() == []
