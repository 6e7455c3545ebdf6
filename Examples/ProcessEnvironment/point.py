#!/usr/bin/env python3
"""A point that is pushed along a line, served by the protocol of Documentation/Python.md without any package.

It is reset and stepped; what evaluates whole rollouts itself says so in "policies" and answers "rollout" too, as
python/gps_gym does.
"""

import json
import os
import random
import struct
import sys

answers = os.fdopen(os.dup(1), "wb")  # what is printed must not come between the answers
os.dup2(2, 1)


def read():
    """The texts and arrays of the next message; None where there will be none."""
    head = sys.stdin.buffer.read(8)
    if len(head) < 8:
        return None
    body = sys.stdin.buffer.read(struct.unpack("<Q", head)[0])
    length = struct.unpack_from("<Q", body)[0]
    header = json.loads(body[8 : 8 + length])
    texts, arrays = header.pop("__metadata__"), {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        arrays[name] = struct.unpack(f"<{(last - first) // 8}d", body[8 + length + first : 8 + length + last])
    return texts, arrays


def write(texts, arrays):
    """Sends texts and arrays of numbers."""
    header, data = {"__metadata__": texts}, b""
    for name, numbers in arrays.items():
        part = struct.pack(f"<{len(numbers)}d", *numbers)
        header[name] = {"dtype": "F64", "shape": [len(numbers)], "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    header = json.dumps(header).encode()
    body = struct.pack("<Q", len(header)) + header + data
    answers.write(struct.pack("<Q", len(body)) + body)
    answers.flush()


def present(reward=0.0, end=""):
    arrays = {"state": [place, velocity], "observation": [place, velocity], "reward": [reward]}
    write({"message": "present", "end": end}, arrays)


while (message := read()) is not None:
    texts, arrays = message
    if texts["message"] == "hello":
        settings = json.loads(texts["settings"])  # of the experiment file
        names = json.dumps(["place_m", "velocity_m_per_s"])
        texts = {"message": "system", "protocol": "1", "title": "a point", "policies": "", "sets_state": "true"}
        texts |= {"state_names": names, "observation_names": names, "control_names": json.dumps(["force_N"]), "pays_rewards": "true"}
        write(texts, {"control_lower": [-5.0], "control_upper": [5.0], "control_period": [0.1]})
    elif texts["message"] == "reset":
        draw = random.Random(int(texts["seed"]))
        options = json.loads(texts["options"])
        place, velocity = arrays.get("state") or (draw.uniform(-1, 1) + options.get("shift", 0), 0.0)
        present()
    elif texts["message"] == "step":
        (force,) = arrays["control"]
        velocity += 0.1 * force / settings.get("mass", 1.0)
        place += 0.1 * velocity
        present(-(place**2) - 0.01 * force**2, "terminated" if abs(place) > 10 else "")
    else:
        write({"message": "failure", "reason": f"unknown message {texts['message']}", "step": "0"}, {})
