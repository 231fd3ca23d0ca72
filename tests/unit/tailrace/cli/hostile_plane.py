"""A control plane that answers every call with texts that try to deceive a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

TEXT = "a\x1b[2J\x1b]0;t\x07\x9b1m\x7f\u202egnp.exe\u2066\u2028\r\nerror: forged\tb"
"""Escape sequences, C1, marks of direction, a forged line."""

_DEPTH = 7
_LEFT_EMPTY = ("next_page_token",)


@contextmanager
def hostile_plane(*, refuse: bool = False) -> Iterator[str]:
    """Serve it; yields ``host:port``. With ``refuse`` every call fails with such a text."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            return _handler(details.method, refuse=refuse)

    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def _handler(path: str, *, refuse: bool) -> grpc.RpcMethodHandler:
    service, _, name = path.strip("/").partition("/")
    method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    answer = hostile_message(method.output_type).SerializeToString()

    def unary(request: Any, context: grpc.ServicerContext) -> bytes:
        for _ in request if method.client_streaming else ():
            pass
        if refuse:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, TEXT)
        return answer

    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield unary(request, context)

    kinds: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = kinds[method.client_streaming, method.server_streaming]
    return make(stream if method.server_streaming else unary)


def hostile_message(descriptor: Descriptor, depth: int = 0) -> Any:
    """Return a message whose every text, also in lists and maps, is :data:`TEXT`."""
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        # Of a choice the first has it.
        if field.name in _LEFT_EMPTY or (
            field.containing_oneof is not None and message.WhichOneof(field.containing_oneof.name)
        ):
            continue
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if depth < _DEPTH:
                _fill_message(message, field, depth)
        elif field.label == FieldDescriptor.LABEL_REPEATED:
            getattr(message, field.name).append(_scalar(field))
        else:
            setattr(message, field.name, _scalar(field))
    return message


def _fill_message(message: Any, field: FieldDescriptor, depth: int) -> None:
    if field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        if value.type != FieldDescriptor.TYPE_MESSAGE:
            key = _scalar(field.message_type.fields_by_name["key"])
            getattr(message, field.name)[key] = _scalar(value)
        return
    part = hostile_message(field.message_type, depth + 1)
    if field.label == FieldDescriptor.LABEL_REPEATED:
        getattr(message, field.name).append(part)
    else:
        getattr(message, field.name).CopyFrom(part)


def _scalar(field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return TEXT
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\x1b"
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    return 1
