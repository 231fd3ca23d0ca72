from __future__ import annotations

import inspect
from typing import Any

import pytest

from training.errors import StoppedError
from training.observer import Observer, Observers, StopRequest


def test_the_default_observer_never_stops() -> None:
    observer = Observer()
    observer.progress(1, 2, "steps")
    observer.check_stop()


@pytest.mark.parametrize(
    ("request_", "released"), [(StopRequest.RELEASE, True), (StopRequest.CANCEL, False)]
)
def test_check_stop(recorder: Any, request_: StopRequest, released: bool) -> None:
    observer = recorder(request_, 0)
    observer.progress(0, 1, "steps")
    with pytest.raises(StoppedError) as stopped:
        Observers(Observer(), observer).check_stop()
    assert stopped.value.released is released


def test_several_observers_hear_everything() -> None:
    told: list[tuple[str, Any]] = []

    class Ear(Observer):
        def __getattribute__(self, name: str) -> Any:
            return lambda *arguments: told.append((name, arguments))

    both = Observers(Ear(), Ear())
    names = [
        name
        for name, method in inspect.getmembers(Observer, inspect.isfunction)
        if name not in ("check_stop", "stop_request")
    ]
    for name in names:
        arguments = tuple(inspect.signature(getattr(Observer, name)).parameters)[1:]
        getattr(both, name)(*arguments)
        assert told[-2:] == [(name, arguments)] * 2
    assert len(told) == 2 * len(names)
