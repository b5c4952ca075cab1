"""The weights of an ONNX file, read without the package onnx, which localization does not need.

An ONNX file is a protocol buffer: fields of a number, a wire type (0 varint, 1 eight bytes, 2 a length and so many
bytes, 5 four bytes) and a value. Numbers of fields are those of onnx.proto.
"""

import numpy as np

_GRAPH, _NODE, _INITIALIZER, _ATTRIBUTE, _TENSOR = 7, 1, 5, 5, 5
_TYPE, _FLOATS, _NAME, _RAW = 2, 4, 8, 9
_DTYPES = {1: "<f4", 10: "<f2", 11: "<f8"}


def not_finite(data):
    """Name of the first tensor of floats in the bytes of an ONNX file that holds NaN or infinity; None if there is
    none."""
    for tensor in _tensors(memoryview(data)):
        fields = dict(_fields(tensor))
        values = np.frombuffer(fields.get(_RAW, b"") or fields.get(_FLOATS, b""), _DTYPES.get(fields.get(_TYPE), "u1"))
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return bytes(fields.get(_NAME, b"")).decode(errors="replace") or "a constant"
    return None


def _tensors(model):
    for graph in _all(model, _GRAPH):
        yield from _all(graph, _INITIALIZER)
        for node in _all(graph, _NODE):
            for attribute in _all(node, _ATTRIBUTE):
                yield from _all(attribute, _TENSOR)


def _all(message, wanted):
    return (value for number, value in _fields(message) if number == wanted and not isinstance(value, int))


def _fields(message):
    """(number, value) of each field; values are integers, or bytes of those with a length."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(message, place)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if size is None:
                size, place = _varint(message, place)
            value, place = message[place : place + size], place + size
        yield number, value


def _varint(message, place):
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        shift, place = shift + 7, place + 1
        if byte < 128:
            return value, place
