"""Policies that runs have left."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ._library import Owned, described, quick


class Policy:
    """A trained network policy, as Stable-Baselines3 has them.

    Observations and actions are in the task's own units and order; actions are brought within the limits of the controls
    if the policy was loaded from a run directory, as they are in rollouts.
    """

    task: str
    """The name of the task that it was trained on."""
    observation_names: list[str]
    """What it sees; empty for a policy file alone."""
    action_names: list[str]
    """What it does; empty for a policy file alone."""
    control_period: float | None
    """Seconds between two actions; None for a policy file alone."""

    def __init__(self, path: str | os.PathLike[str]):
        """Loads the policy of a run directory, a policy file or a checkpoint.

        Raises:
            GPSError: if there is none, or it cannot be used.
        """
        self._owned = Owned("gps_policy_load", os.fsencode(path))
        facts = described(quick.gps_policy_describe(self._owned.handle))
        self.task = facts["task"]
        self.observation_names, self.action_names = facts["observationNames"], facts["controlNames"]
        self.control_period = facts.get("controlPeriod")
        self._observations, self._actions = facts["observations"], facts["controls"]
        # Kept from call to call: their addresses take longer to ask for than the network does.
        self._given, self._made = np.zeros(self._observations), np.zeros(self._actions)
        self._arguments = (self._owned.handle, 1, self._given.ctypes.data, None, self._made.ctypes.data)
        self._act = quick.gps_policy_act

    def predict(
        self,
        observation: npt.ArrayLike,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
        *,
        generator: np.random.Generator | None = None,
    ) -> tuple[npt.NDArray[np.float64], None]:
        """The action for an observation, or one for each row of several.

        Args:
            observation: o numbers, or N × o.
            state: not used: the policy has no memory. It stands here, as ``episode_start`` does, for programs that call
                policies of Stable-Baselines3.
            episode_start: not used.
            deterministic: False adds the policy's own noise, as training does.
            generator: where noise comes from; by default NumPy's own.

        Returns:
            m numbers, or N × m, and None.

        Raises:
            ValueError: for an observation of another length.
        """
        if deterministic:
            seen = observation if isinstance(observation, np.ndarray) else np.asarray(observation, dtype=np.float64)
            if seen.shape == self._given.shape:
                self._given[:] = seen
                self._act(*self._arguments)
                return self._made.copy(), None
        return self._batch(np.asarray(observation, dtype=np.float64), deterministic, generator), None

    def _batch(self, observation: np.ndarray, deterministic: bool, generator: np.random.Generator | None) -> np.ndarray:
        rows = np.ascontiguousarray(np.atleast_2d(observation))
        if rows.ndim != 2 or rows.shape[1] != self._observations:
            raise ValueError(f"observations of shape {observation.shape} for a policy of {self._observations} numbers")
        made = np.empty((len(rows), self._actions))
        noise = None
        if not deterministic:
            noise = (generator or np.random.default_rng()).standard_normal(made.shape)
        address = None if noise is None else noise.ctypes.data
        self._act(self._owned.handle, len(rows), rows.ctypes.data, address, made.ctypes.data)
        return made if observation.ndim == 2 else made[0]


def load(path: str | os.PathLike[str]) -> Policy:
    """The policy of a run directory, a policy file (``policy.safetensors``) or a checkpoint.

    Raises:
        GPSError: if there is none, or it cannot be used.
    """
    return Policy(path)
