"""The policies that guided policy search sends, evaluated in NumPy."""

from __future__ import annotations

from typing import Callable

import numpy as np

from .wire import Arrays, Texts


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def _silu(x: np.ndarray) -> np.ndarray:
    return x * (0.5 * (1 + np.tanh(0.5 * x)))


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "softplus": _softplus,
    "silu": _silu,
}


class Policy:
    """A policy of one of the kinds of ``Policy.kinds``: ``policy(t, state, observation)`` is its mean control at step t."""

    kinds = ("linear-gaussian", "network", "affine")

    def __init__(self, kind: str, texts: Texts, arrays: Arrays):
        """Reads a policy from a message: its parts have names that begin with ``policy.``"""
        part = {name.removeprefix("policy."): array for name, array in arrays.items() if name.startswith("policy.")}
        if kind == "linear-gaussian":
            gains, offsets, factors = part["gains"], np.ascontiguousarray(part["offsets"].T), part["covariance_factors"]
            self._mean = lambda t, state, observation: gains[t] @ state + offsets[t]
            self._factor = lambda t: factors[t]
        elif kind == "affine":
            gain, offset, factor = part["gain"], part["offset"], part["covariance_factor"]
            self._mean = lambda t, state, observation: gain @ observation + offset
            self._factor = lambda t: factor
        elif kind == "network":
            self._mean = _network(texts["policy.activation"], part)
            network_factor = part["covariance_factor"]
            self._factor = lambda t: network_factor
        else:
            raise ValueError(f"a policy of kind {kind!r} is none of {', '.join(self.kinds)}")

    def __call__(self, step: int, state: np.ndarray, observation: np.ndarray) -> np.ndarray:
        return self._mean(step, state, observation)

    def noise(self, drawn: np.ndarray) -> np.ndarray:
        """What noise adds to the controls: the factors of the covariance times standard-normal numbers, a row for each step."""
        return np.array([self._factor(t) @ row for t, row in enumerate(drawn)])


def _network(activation: str, part: Arrays) -> Callable[[int, np.ndarray, np.ndarray], np.ndarray]:
    layers = []
    while f"layers.{len(layers)}.weights" in part:
        layers.append((part[f"layers.{len(layers)}.weights"], part[f"layers.{len(layers)}.biases"]))
    act = _ACTIVATIONS[activation]
    mean, deviation = part["observation.mean"], part["observation.deviation"]
    shift, scale = part["control.mean"], part["control.deviation"]

    def control(step: int, state: np.ndarray, observation: np.ndarray) -> np.ndarray:
        x = ((observation - mean) / deviation).astype(np.float32)
        for weights, biases in layers[:-1]:
            x = act(weights @ x + biases)
        weights, biases = layers[-1]
        return shift + scale * (weights @ x + biases).astype(np.float64)

    return control
