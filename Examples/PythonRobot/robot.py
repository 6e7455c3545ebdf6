#!/usr/bin/env python3
"""A robot in Python: rolls out for `gps run cart-pole --cluster URL`, here on a cart-pole in NumPy. See README.md."""

import json
import struct
import sys
import time

import numpy as np
import redis

TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8"}
TABLE = list(range(256))  # of CRC-64/XZ
for _ in range(8):
    TABLE = [r >> 1 ^ (0xC96C5795D7870F42 if r & 1 else 0) for r in TABLE]


def checksum(data):
    remainder = 2**64 - 1
    for byte in data:
        remainder = TABLE[(remainder ^ byte) & 255] ^ remainder >> 8
    return remainder ^ (2**64 - 1)


def read(message):
    """The texts and arrays of a sealed safetensors file."""
    end = 8 + struct.unpack("<Q", message[:8])[0]
    header, data, arrays = json.loads(message[8:end]), message[end:], {}
    texts = header.pop("__metadata__")
    for name, entry in header.items():
        part = data[slice(*entry["data_offsets"])]
        arrays[name] = np.frombuffer(part, TYPES[entry["dtype"]]).reshape(entry["shape"])
    assert arrays["checksum"][0] == checksum(message[:-8]), "a damaged message"
    return texts, arrays


def written(texts, arrays):
    header, data = {"__metadata__": texts}, b""
    for name, array in [*arrays.items(), ("checksum", np.zeros(1))]:
        part = np.ascontiguousarray(array, "<f8").tobytes()
        header[name] = {"dtype": "F64", "shape": np.shape(array), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    header["checksum"]["dtype"] = "U64"
    header = json.dumps(header).encode()
    message = struct.pack("<Q", len(header)) + header + data[:-8]
    return message + struct.pack("<Q", checksum(message))


def rate(x, u):
    """The plant: a cart of 1 kg with a pole of 0.2 kg and 1 m, as Experiments/cart-pole describes it."""
    sine, b = np.sin(x[1]), 0.1 * np.cos(x[1])
    forces = [u[0] - 0.1 * x[2] + 0.1 * x[3] ** 2 * sine, 0.981 * sine - 0.002 * x[3]]
    return np.append(x[2:], np.linalg.solve([[1.2, b], [b, 0.2 / 3]], forces))


def step(x, u, h=0.01):
    for _ in range(4):
        k1 = rate(x, u)
        k2 = rate(x + h / 2 * k1, u)
        k3 = rate(x + h / 2 * k2, u)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(x + h * k3, u))
    return x


def action(t, x, noise, item, policy):
    """What the network does or, before there is one and where it is behind, the local controller."""
    if not item["is_by_policy"][0]:
        K, k, L = (item[f"state.controller.{name}"] for name in ("gains", "offsets", "covariance_factors"))
        return np.clip(K[t] @ x + k[:, t] + L[t] @ noise, -40, 40)
    texts, p = policy
    a = (x - p["observation.mean"]) / p["observation.deviation"]
    for i in range(last := texts["layer_sizes"].count(",")):
        a = p[f"layers.{i}.weights"] @ a + p[f"layers.{i}.biases"]
        a = np.maximum(a, 0) if i < last - 1 else a
    return np.clip(p["control.mean"] + p["control.deviation"] * a + p["covariance_factor"] @ noise, -40, 40)


server, me = redis.Redis.from_url(sys.argv[1]), f"python-{time.time_ns()}"
while True:
    try:  # an item that its worker has left for 15 s, or a new one
        entries = server.xautoclaim("gps:items", "workers", me, 15000, count=1)[1]
        entries = entries or dict(server.xreadgroup("workers", me, {"gps:items": ">"}, 1, block=1000)).get(b"gps:items", [])
    except redis.ResponseError:  # nobody leads
        entries = time.sleep(0.2) or []
    for entry, fields in entries:
        (texts, item), start, states, controls = read(fields[b"message"]), time.monotonic(), [], []
        policy = read(server.hget("gps:shared", texts["policy"])) if "policy" in texts else None
        for sample in range(int(texts["samples"])):
            x, u = [item["starts"][:, sample]], []
            for t in range(int(texts["horizon"])):
                u.append(action(t, x[-1], item["noise"][sample][:, t] if "noise" in item else np.zeros(1), item, policy))
                x.append(step(x[-1], u[-1]))
            states, controls = states + [np.transpose(x)], controls + [np.transpose(u)]
            server.xclaim("gps:items", "workers", me, 0, [entry], justid=True)  # the item stays this robot's
        tips = [[x[0] + np.sin(x[1]), 0 * x[0], np.cos(x[1])] for x in states]  # a point that the task knows
        arrays = {"states": states, "observations": states, "controls": controls, "points": tips, "seconds": time.monotonic() - start}
        result = {"format": "gps-result", "version": "1", "discarded": "0", "has_step": "false"}
        result |= {"run": texts["run"], "key": texts["key"], "samples": ",".join(map(str, range(len(states))))}
        server.xadd("gps:answers", {"key": fields[b"key"], "worker": me, "message": written(result, arrays)})
