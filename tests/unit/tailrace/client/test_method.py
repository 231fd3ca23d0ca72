from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tailrace import AsyncClient, AsyncRunHandle, Client, RunHandle
from tailrace.client import runs
from tailrace.client.method import Blocking, Method
from tailrace.v1 import run_pb2

FLAVOURS = [(Client, AsyncClient), (RunHandle, AsyncRunHandle)]


def _methods(owner: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(owner, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("blocking", "asyncio"), FLAVOURS)
def test_both_flavours_have_the_same_methods(blocking: type, asyncio: type) -> None:
    assert len(_methods(blocking)) > 10
    assert _methods(blocking).keys() == _methods(asyncio).keys()
    for name, method in _methods(blocking).items():
        other = inspect.signature(_methods(asyncio)[name])
        assert inspect.signature(method).parameters == other.parameters
        assert method.__doc__ == _methods(asyncio)[name].__doc__ or name == "run"


@pytest.mark.parametrize("owner", [owner for pair in FLAVOURS for owner in pair])
def test_every_method_has_a_docstring_and_a_return_type(owner: type) -> None:
    for name, method in _methods(owner).items():
        signature = inspect.signature(method)
        assert method.__doc__, name
        assert signature.return_annotation not in (inspect.Signature.empty, Any), name
        assert all(
            parameter.annotation is not inspect.Parameter.empty
            for parameter in [*signature.parameters.values()][1:]
        ), name


def test_signatures_are_those_of_the_flavour() -> None:
    returns = {
        owner: inspect.signature(owner.list_runs).return_annotation
        for owner in (Client, AsyncClient)
    }
    assert returns == {Client: Iterator[run_pb2.Run], AsyncClient: AsyncIterator[run_pb2.Run]}
    assert inspect.iscoroutinefunction(AsyncClient.get_run)
    assert str(inspect.signature(Client("h:1").get_run)) == "(name: str) -> tailrace.v1.run_pb2.Run"
    assert typing.get_type_hints(Client.get_run) == {"name": str, "return": run_pb2.Run}
    assert Client.get_run.__qualname__ == "Client.get_run"


def test_a_handle_takes_its_name_from_itself() -> None:
    signature = inspect.signature(RunHandle.wait)
    assert list(signature.parameters) == ["self", "timeout"]
    documented = inspect.getdoc(RunHandle.wait) or ""
    assert "timeout: " in documented
    assert "name: " not in documented
    assert "name: " in (inspect.getdoc(runs.wait_for_run) or "")


def test_a_subclass_keeps_its_own_methods() -> None:
    class Methods:
        get_run = Method(runs.get_run)
        cancel_run = Method(runs.cancel_run)

    class Base(Methods, Blocking):
        pass

    class Mine(Base):
        def get_run(self, name: str) -> str:  # type: ignore[override]
            return name

    assert Mine().get_run("x") == "x"
    assert Mine.cancel_run is Mine.__dict__["cancel_run"]
    assert str(inspect.signature(Base.get_run)) == str(inspect.signature(Client.get_run))
    assert Mine.get_run is Mine.__dict__["get_run"]
