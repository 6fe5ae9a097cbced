"""What an ONNX file says of its graph, read without any ONNX package: inputs, outputs, side files.

The file is one protobuf message (onnx.proto3). Of it, only names, types and shapes are read; the
weights are skipped over, in a mapped file.
"""

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass

from limbeck.config.errors import LimbeckError

__all__ = ["OnnxGraph", "OnnxValue", "read_graph"]

# Field numbers of onnx.proto3.
_MODEL_GRAPH = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_TENSOR_NAME, _TENSOR_EXTERNAL, _ENTRY_KEY, _ENTRY_VALUE = 8, 13, 1, 2
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2, 1, 1, 2
_SHAPE_DIM, _DIM_VALUE = 1, 1
# TensorProto.DataType, of those that token models take or give.
_ELEMENTS = {1: "float32", 6: "int32", 7: "int64", 10: "float16", 11: "float64", 16: "bfloat16"}


@dataclass(frozen=True, kw_only=True)
class OnnxValue:
    """One input or output of a graph."""

    name: str
    """Its name."""
    dtype: str
    """NumPy's name of its type, or `type N` for one that no token model has."""
    shape: tuple[int | None, ...]
    """Its dimensions; None where open."""


@dataclass(frozen=True, kw_only=True)
class OnnxGraph:
    """What is asked of a graph before it runs."""

    inputs: tuple[OnnxValue, ...]
    """Without the weights, which old files list too."""
    outputs: tuple[OnnxValue, ...]
    """In the file's order."""
    external_files: tuple[str, ...]
    """Names of the files beside this one that hold its weights, sorted."""


def read_graph(path: str | os.PathLike[str]) -> OnnxGraph:
    """Reads the description of a graph.

    Raises:
      LimbeckError: not an ONNX file, or cut short.
      OSError: the file cannot be read.
    """
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            # Closed when the last view of it goes, which an error may hold for a while.
            return _graph(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except ValueError as error:  # an empty file cannot be mapped; text that is no UTF-8
        raise LimbeckError(f"{where}: not an ONNX file, or damaged: {error}") from error


def _graph(data: memoryview) -> OnnxGraph:
    found = [value for number, value in _fields(data) if number == _MODEL_GRAPH]
    if len(found) != 1:
        raise ValueError(f"it holds {len(found)} graphs")
    inputs, outputs, weights, external = [], [], set(), set()
    for number, value in _messages(found[0]):
        if number == _GRAPH_INPUT:
            inputs.append(_value(value))
        elif number == _GRAPH_OUTPUT:
            outputs.append(_value(value))
        elif number == _GRAPH_INITIALIZER:
            name, files = _initializer(value)
            weights.add(name)
            external |= files
    return OnnxGraph(
        inputs=tuple(value for value in inputs if value.name not in weights),
        outputs=tuple(outputs),
        external_files=tuple(sorted(external)),
    )


def _initializer(data: memoryview) -> tuple[str, set[str]]:
    """Name of a weight, and of the file that holds it if another does."""
    name, files = "", set()
    for number, value in _messages(data):
        if number == _TENSOR_NAME:
            name = _text(value)
        elif number == _TENSOR_EXTERNAL:
            entry = {key: _text(text) for key, text in _messages(value)}
            if entry.get(_ENTRY_KEY) == "location":
                files.add(entry.get(_ENTRY_VALUE, ""))
    return name, files


def _value(data: memoryview) -> OnnxValue:
    name, dtype = "", "type 0"
    shape: tuple[int | None, ...] = ()
    for number, value in _messages(data):
        if number == _VALUE_NAME:
            name = _text(value)
        elif number == _VALUE_TYPE:
            for kind, tensor in _messages(value):
                if kind == _TYPE_TENSOR:
                    dtype, shape = _tensor_type(tensor)
    return OnnxValue(name=name, dtype=dtype, shape=shape)


def _tensor_type(data: memoryview) -> tuple[str, tuple[int | None, ...]]:
    dtype = "type 0"
    dims: list[int | None] = []
    for number, value in _fields(data):
        if number == _TENSOR_ELEMENT and isinstance(value, int):
            dtype = _ELEMENTS.get(value, f"type {value}")
        elif number == _TENSOR_SHAPE and isinstance(value, memoryview):
            for kind, dim in _messages(value):
                if kind == _SHAPE_DIM:
                    sizes = [size for part, size in _fields(dim) if part == _DIM_VALUE]
                    dims.append(sizes[0] if sizes and isinstance(sizes[0], int) else None)
    return dtype, tuple(dims)


def _messages(data: memoryview | int) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that have bytes."""
    if isinstance(data, int):
        raise ValueError("a number where a message is expected")
    for number, value in _fields(data):
        if isinstance(value, memoryview):
            yield number, value


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a protobuf message: numbers for varints, else the bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field without a number")
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of wire type {wire}")
        if at + size > len(data):
            raise ValueError("it ends in the middle of a field")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it ends in the middle of a number")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at


def _text(data: memoryview) -> str:
    return bytes(data).decode("utf-8")
