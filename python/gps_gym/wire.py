"""Frames of the protocol: eight bytes with the length, then a safetensors file of that length."""

from __future__ import annotations

import json
import struct
from typing import BinaryIO, Mapping

import numpy as np

Texts = dict[str, str]
Arrays = dict[str, np.ndarray]

_TYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8"), "U64": np.dtype("<u8")}


def decode(body: bytes) -> tuple[Texts, Arrays]:
    """The texts and arrays of a safetensors file."""
    (length,) = struct.unpack_from("<Q", body)
    header = json.loads(body[8 : 8 + length])
    data = memoryview(body)[8 + length :]
    texts = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[first:last], dtype=_TYPES[entry["dtype"]]).reshape(entry["shape"])
    return texts, arrays


def encode(texts: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A safetensors file of texts and of arrays in double precision."""
    header: dict[str, object] = {"__metadata__": dict(texts)}
    parts, offset = [], 0
    for name, array in arrays.items():
        array = np.asarray(array, dtype="<f8")
        part = array.tobytes()
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": [offset, offset + len(part)]}
        parts.append(part)
        offset += len(part)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def read(stream: BinaryIO) -> tuple[Texts, Arrays] | None:
    """The next message; None where there will be none."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack("<Q", head)
    body = stream.read(length)
    return decode(body) if len(body) == length else None


def write(stream: BinaryIO, texts: Mapping[str, str], arrays: Mapping[str, np.ndarray] = {}) -> None:
    """Sends a message."""
    body = encode(texts, arrays)
    data = memoryview(struct.pack("<Q", len(body)) + body)
    while data:
        data = data[stream.write(data) :]
