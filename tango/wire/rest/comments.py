"""What the protos say of each name, from the descriptors that the build keeps with comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources

from google.protobuf import descriptor_pb2

FILE = "described.binpb"
# Numbers of fields in descriptor.proto, of which paths in source_code_info are made.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD = _VALUE = _METHOD = 2
_NESTED = 3


def comments() -> Mapping[str, str]:
    """Full name ("tango.v1.JobSpec.tasks") -> its comment, in one paragraph; "" is not in it."""
    files = descriptor_pb2.FileDescriptorSet.FromString(
        resources.files("tango.v1").joinpath(FILE).read_bytes()
    )
    return {name: text for file in files.file for name, text in _of_file(file) if text}


def _of_file(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    told = {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
    }
    for path, name in _names(file):
        yield f"{file.package}.{name}", told.get(path, "")


def _names(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    for at, message in enumerate(file.message_type):
        yield from _in_message((_MESSAGE, at), message.name, message)
    for at, enum in enumerate(file.enum_type):
        yield from _in_enum((_ENUM, at), enum.name, enum)
    for at, service in enumerate(file.service):
        yield (_SERVICE, at), service.name
        for number, method in enumerate(service.method):
            yield (_SERVICE, at, _METHOD, number), f"{service.name}.{method.name}"


def _in_message(
    path: tuple[int, ...], name: str, message: descriptor_pb2.DescriptorProto
) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for number, field in enumerate(message.field):
        yield (*path, _FIELD, number), f"{name}.{field.name}"
    for number, nested in enumerate(message.nested_type):
        yield from _in_message((*path, _NESTED, number), f"{name}.{nested.name}", nested)


def _in_enum(
    path: tuple[int, ...], name: str, enum: descriptor_pb2.EnumDescriptorProto
) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for number, value in enumerate(enum.value):
        yield (*path, _VALUE, number), f"{name}.{value.name}"
