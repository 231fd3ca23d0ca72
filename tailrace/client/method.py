"""Methods of clients and handles, derived from call builders.

A call builder turns Python arguments into a call (:mod:`tailrace.client.call`). ``Method(builder)``
in a class body declares a method with the builder's name, parameters and docstring. A subclass that
is also :class:`Blocking` returns its response or iterates over its items; one that is
:class:`Asynchronous` returns a coroutine or an asynchronous iterator.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from tailrace.client.call import ItemsCall, ResponseCall

P = ParamSpec("P")
Item = TypeVar("Item")
Response = TypeVar("Response")
Call_co = TypeVar("Call_co", covariant=True)


class Method(Generic[P, Call_co]):
    """Declaration of a method of both flavours.

    A class gets its function on first use: resolving all annotations would add several
    milliseconds to the start of each program.
    """

    def __init__(self, build: Callable[P, Call_co], *, of_resource: bool = False) -> None:
        self._build: Callable[..., Any] = build
        self._of_resource = of_resource

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(
        self: Method[P, ResponseCall[Response]], owner: Blocking, kind: Any = None
    ) -> Callable[P, Response]: ...
    @overload
    def __get__(
        self: Method[P, ItemsCall[Item]], owner: Blocking, kind: Any = None
    ) -> Callable[P, Iterator[Item]]: ...
    @overload
    def __get__(
        self: Method[P, ResponseCall[Response]], owner: Asynchronous, kind: Any = None
    ) -> Callable[P, Coroutine[Any, Any, Response]]: ...
    @overload
    def __get__(
        self: Method[P, ItemsCall[Item]], owner: Asynchronous, kind: Any = None
    ) -> Callable[P, AsyncIterator[Item]]: ...
    @overload
    def __get__(
        self: Method[P, ResponseCall[Response]], owner: None, kind: type[Blocking]
    ) -> Callable[Concatenate[Any, P], Response]: ...
    @overload
    def __get__(
        self: Method[P, ItemsCall[Item]], owner: None, kind: type[Blocking]
    ) -> Callable[Concatenate[Any, P], Iterator[Item]]: ...
    @overload
    def __get__(
        self: Method[P, ResponseCall[Response]], owner: None, kind: type[Asynchronous]
    ) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, Response]]: ...
    @overload
    def __get__(
        self: Method[P, ItemsCall[Item]], owner: None, kind: type[Asynchronous]
    ) -> Callable[Concatenate[Any, P], AsyncIterator[Item]]: ...

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        kind = kind or type(owner)
        if not issubclass(kind, (Blocking, Asynchronous)):
            return self
        function = self._function(kind)
        setattr(kind, self._name, function)
        return function.__get__(owner, kind)

    def _function(self, kind: type[Blocking | Asynchronous]) -> Any:
        signature = inspect.signature(self._build, eval_str=True)
        call_type = typing.get_origin(signature.return_annotation)
        # The caller gets the last argument: Run of Unary[Run] and of Paged[ListRunsResponse, Run].
        *_, value = typing.get_args(signature.return_annotation)
        function, returns = kind._method(self._call, value, issubclass(call_type, ResponseCall))
        function.__name__, function.__qualname__ = self._name, f"{kind.__qualname__}.{self._name}"
        function.__module__, function.__doc__ = kind.__module__, self._doc()
        parameters = [*signature.parameters.values()][self._of_resource :]
        annotations = {parameter.name: parameter.annotation for parameter in parameters}
        function.__annotations__ = {**annotations, "return": returns}
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        function.__signature__ = inspect.Signature([itself, *parameters], return_annotation=returns)
        return function

    def _call(self, owner: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self._build(*([owner.name] if self._of_resource else ()), *args, **kwargs)

    def _doc(self) -> str:
        """Return the builder's docstring, without the argument that a handle passes itself."""
        doc = inspect.getdoc(self._build) or ""
        if not self._of_resource:
            return doc
        name = next(iter(inspect.signature(self._build).parameters))
        return re.sub(rf"^    {name}: .*\n(?:      .*\n)*", "", doc, flags=re.MULTILINE)


def of_resource(build: Callable[Concatenate[str, P], Call_co]) -> Method[P, Call_co]:
    """Declare a handle's method; its builder's first parameter is the resource's name."""
    return Method(typing.cast("Callable[P, Call_co]", build), of_resource=True)


class Blocking:
    """Base of classes whose methods block."""

    def _respond(self, call: ResponseCall[Response]) -> Response:
        raise NotImplementedError

    def _iterate(self, call: ItemsCall[Item]) -> Iterator[Item]:
        raise NotImplementedError

    @staticmethod
    def _method(build: Callable[..., Any], value: Any, has_response: bool) -> tuple[Any, Any]:
        """Return a method that executes the call of ``build``, and its return type."""

        def respond(self: Blocking, /, *args: Any, **kwargs: Any) -> Any:
            return self._respond(build(self, *args, **kwargs))

        def iterate(self: Blocking, /, *args: Any, **kwargs: Any) -> Any:
            return self._iterate(build(self, *args, **kwargs))

        return (respond, value) if has_response else (iterate, Iterator[value])


class Asynchronous:
    """Base of classes whose methods are awaited or iterated with ``async for``."""

    async def _respond(self, call: ResponseCall[Response]) -> Response:
        raise NotImplementedError

    def _iterate(self, call: ItemsCall[Item]) -> AsyncIterator[Item]:
        raise NotImplementedError

    @staticmethod
    def _method(build: Callable[..., Any], value: Any, has_response: bool) -> tuple[Any, Any]:
        """Return a method that executes the call of ``build``, and its return type."""

        async def respond(self: Asynchronous, /, *args: Any, **kwargs: Any) -> Any:
            return await self._respond(build(self, *args, **kwargs))

        def iterate(self: Asynchronous, /, *args: Any, **kwargs: Any) -> Any:
            return self._iterate(build(self, *args, **kwargs))

        return (respond, value) if has_response else (iterate, AsyncIterator[value])
