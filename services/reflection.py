"""Server reflection in both versions: tools such as grpcurl try v1 first.

grpcio-reflection ships v1alpha only. The messages of v1 have the same fields under another package
name, so one servicer answers both, and v1's descriptors are copies of v1alpha's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1ALPHA = str(reflection.SERVICE_NAME)
V1 = V1ALPHA.replace("v1alpha", "v1")
_METHOD = "ServerReflectionInfo"


def add_reflection(services: Iterable[str], server: grpc.aio.Server) -> None:
    """Add a servicer that describes the services and reflection itself."""
    _add_v1_descriptors()
    # The stubs lack the asyncio flavour.
    make: Any = reflection.aio.ReflectionServicer  # type: ignore[attr-defined]
    answer = make([*services, V1, V1ALPHA]).ServerReflectionInfo
    handler = grpc.stream_stream_rpc_method_handler(
        answer,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for service in (V1, V1ALPHA):
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {_METHOD: handler}),)
        )


def _add_v1_descriptors() -> None:
    pool = descriptor_pool.Default()
    try:
        pool.FindServiceByName(V1)
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        file.name = file.name.replace("v1alpha", "v1")
        file.package = file.package.replace("v1alpha", "v1")
        for kind in _type_references(file):
            kind.type_name = kind.type_name.replace("v1alpha", "v1")
        for method in file.service[0].method:
            method.input_type = method.input_type.replace("v1alpha", "v1")
            method.output_type = method.output_type.replace("v1alpha", "v1")
        pool.Add(file)


def _type_references(
    file: descriptor_pb2.FileDescriptorProto,
) -> list[descriptor_pb2.FieldDescriptorProto]:
    return [field for message in file.message_type for field in message.field if field.type_name]
