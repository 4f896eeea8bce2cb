"""A tiny vision net as an ONNX file, written byte by byte: two fully connected layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE = 8
FLOAT = 1

Weights = tuple[NDArray[np.float32], ...]


def make_weights(
    seed: int = 0, *, channels: int = 3, dimension: int = 5, class_count: int = 3
) -> Weights:
    """Return weights and offsets of the two layers."""
    rng = np.random.default_rng(seed)
    shapes = (
        (channels * SIDE * SIDE, dimension),
        (dimension,),
        (dimension, class_count),
        (class_count,),
    )
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def write_model(path: Path, weights: Weights, *, channels: int = 3) -> Path:
    """Write the net: `pixels` in, `classes` and the layer before, `features`, out."""
    names = ("w1", "b1", "w2", "b2")
    nodes = [
        _node("Flatten", ["pixels"], ["flat"]),
        _node("Gemm", ["flat", "w1", "b1"], ["features"]),
        _node("Relu", ["features"], ["active"]),
        _node("Gemm", ["active", "w2", "b2"], ["classes"]),
    ]
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"tiny")
    graph += b"".join(
        _field(5, _tensor(name, values)) for name, values in zip(names, weights, strict=True)
    )
    graph += _field(11, _value("pixels", ["n", channels, SIDE, SIDE]))
    graph += _field(12, _value("classes", ["n", weights[3].shape[0]]))
    graph += _field(12, _value("features", ["n", weights[1].shape[0]]))
    model = _number(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 13))
    path.write_bytes(model)
    return path


def features(weights: Weights, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the second-to-last layer gives, float32[n, d]."""
    flat = pixels.reshape(len(pixels), -1)
    return np.asarray(flat @ weights[0] + weights[1], np.float32)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _node(kind: str, inputs: list[str], outputs: list[str]) -> bytes:
    given = b"".join(_field(1, name.encode()) for name in inputs)
    made = b"".join(_field(2, name.encode()) for name in outputs)
    return given + made + _field(4, kind.encode())


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    dims = b"".join(_number(1, size) for size in values.shape)
    return dims + _number(2, FLOAT) + _field(8, name.encode()) + _field(9, values.tobytes())


def _value(name: str, shape: list[int | str]) -> bytes:
    dims = b"".join(
        _field(1, _number(1, size) if isinstance(size, int) else _field(2, size.encode()))
        for size in shape
    )
    tensor = _number(1, FLOAT) + _field(2, dims)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))
