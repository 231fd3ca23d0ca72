"""The protobuf descriptor set as text, without comments."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

from tailrace import v1

Field = descriptor_pb2.FieldDescriptorProto


def text() -> str:
    """Return every service, message, and enum of the package, in the order of their names."""
    lines: list[str] = []
    for file in sorted(proto_files(), key=lambda file: file.name):
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        lines += [f"file {proto.name}", f"package {proto.package}", *_options(proto, "  ")]
        for service in sorted(proto.service, key=lambda service: service.name):
            lines += ["", f"service {service.name}", *_options(service, "  ")]
            lines += _methods(service)
        for message in sorted(proto.message_type, key=lambda message: message.name):
            lines += ["", *_message(message, message.name)]
        for enum in sorted(proto.enum_type, key=lambda enum: enum.name):
            lines += ["", *_enum(enum, enum.name)]
        lines.append("")
    return "\n".join(lines)


def proto_files() -> Iterator[FileDescriptor]:
    """Yield the descriptors of the package's files."""
    for module in pkgutil.iter_modules(v1.__path__):
        if module.name.endswith("_pb2"):
            yield importlib.import_module(f"{v1.__name__}.{module.name}").DESCRIPTOR


def _methods(service: descriptor_pb2.ServiceDescriptorProto) -> Iterator[str]:
    for method in sorted(service.method, key=lambda method: method.name):
        request = "stream " * method.client_streaming + method.input_type.lstrip(".")
        response = "stream " * method.server_streaming + method.output_type.lstrip(".")
        yield f"  {method.name}({request}) -> {response}"
        yield from _options(method, "    ")


def _message(message: descriptor_pb2.DescriptorProto, name: str) -> Iterator[str]:
    yield f"message {name}"
    yield from _options(message, "  ")
    nested = {entry.name: entry for entry in message.nested_type}
    for field in sorted(message.field, key=lambda field: field.number):
        yield f"  {field.number} {field.name}: {_type(field, nested)}{_choice(message, field)}"
        yield from _options(field, "    ")
    for gap in message.reserved_range:
        yield f"  reserved {gap.start} to {gap.end - 1}"
    for reserved in sorted(message.reserved_name):
        yield f"  reserved {reserved}"
    for entry in sorted(message.nested_type, key=lambda entry: entry.name):
        if not entry.options.map_entry:
            yield from _message(entry, f"{name}.{entry.name}")
    for enum in sorted(message.enum_type, key=lambda enum: enum.name):
        yield from _enum(enum, f"{name}.{enum.name}")


def _type(field: Field, nested: dict[str, descriptor_pb2.DescriptorProto]) -> str:
    entry = nested.get(field.type_name.rpartition(".")[2])
    if entry is not None and entry.options.map_entry:
        return f"map<{_type(entry.field[0], {})}, {_type(entry.field[1], {})}>"
    name = field.type_name.lstrip(".") or Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == Field.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _choice(message: descriptor_pb2.DescriptorProto, field: Field) -> str:
    """Return the oneof of a field, if it has a real one."""
    if not field.HasField("oneof_index") or field.proto3_optional:
        return ""
    return f" (oneof {message.oneof_decl[field.oneof_index].name})"


def _enum(enum: descriptor_pb2.EnumDescriptorProto, name: str) -> Iterator[str]:
    yield f"enum {name}"
    yield from _options(enum, "  ")
    for value in sorted(enum.value, key=lambda value: value.number):
        yield f"  {value.number} {value.name}"
        yield from _options(value, "    ")
    for gap in enum.reserved_range:
        yield f"  reserved {gap.start} to {gap.end}"
    for reserved in sorted(enum.reserved_name):
        yield f"  reserved {reserved}"


def _options(descriptor: object, indent: str) -> Iterator[str]:
    options = str(getattr(descriptor, "options", "")).splitlines()
    yield from (f"{indent}option {line}" for line in options)
