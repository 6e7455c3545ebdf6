"""What the protocol needs of an environment, over what Gymnasium has."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any, Callable

import gymnasium
import numpy as np
from gymnasium.spaces import Box, utils


class Environment:
    """A Gymnasium environment with a state.

    The state is, in this order: what ``gps_state()`` of the environment returns, if it has that method; joint positions
    and velocities of a MuJoCo environment; the ``state`` of Gymnasium's own classic control environments; or else the
    observation. It can be set where the environment has ``gps_set_state(state)``, and in MuJoCo and classic control
    environments.
    """

    def __init__(self, settings: dict[str, Any], horizon: int):
        arguments = settings.get("arguments", {})
        if "id" in settings:
            # One step more than is taken: a rollout of full length is not cut short.
            self.env = gymnasium.make(settings["id"], max_episode_steps=horizon + 1, disable_env_checker=True, **arguments)
            self.title = settings["id"]
        else:
            self.env = load(settings["class"])(**arguments)
            self.title = settings["class"]
        self.title += f" (gymnasium {gymnasium.__version__})"
        self.inner = self.env.unwrapped
        space = self.env.action_space
        if not isinstance(space, Box):
            raise TypeError(f"controls must be numbers: the action space is {space}, not a Box")
        self.action_space = space
        self.lower = space.low.astype(np.float64).ravel()
        self.upper = space.high.astype(np.float64).ravel()
        self._is_plain = isinstance(self.env.observation_space, Box)
        self._read_state = self._state_reader()
        self.observation = np.zeros(0)
        self.reset(0, {}, None)

    @property
    def state(self) -> np.ndarray:
        """The state, or what is seen if there is none."""
        return self._read_state()

    def _state_reader(self) -> Callable[[], np.ndarray]:
        inner = self.inner
        if hasattr(inner, "gps_state"):
            return lambda: np.array(inner.gps_state(), dtype=np.float64).ravel()
        if self._is_mujoco:
            return lambda: np.concatenate([inner.data.qpos, inner.data.qvel])
        if self._is_classic:
            return lambda: np.array(inner.state, dtype=np.float64)
        return lambda: self.observation

    @property
    def sets_state(self) -> bool:
        """Whether it can be put into a state."""
        if hasattr(self.inner, "gps_state"):
            return hasattr(self.inner, "gps_set_state")
        return self._is_mujoco or self._is_classic

    @property
    def _is_mujoco(self) -> bool:
        return all(hasattr(self.inner, name) for name in ("data", "model", "set_state", "_get_obs"))

    @property
    def _is_classic(self) -> bool:
        return type(self.inner).__module__.startswith("gymnasium.envs.classic_control") and hasattr(self.inner, "_get_obs")

    def reset(self, seed: int, options: dict[str, Any], state: np.ndarray | None) -> None:
        """Begins an episode, in a state if one is given."""
        seen, _ = self.env.reset(seed=seed, options=options or None)
        if state is not None:
            seen = self._put(state, seen)
        self._see(seen)

    def _put(self, state: np.ndarray, seen: Any) -> Any:
        state = np.array(state)
        if hasattr(self.inner, "gps_set_state"):
            own = self.inner.gps_set_state(state)
            return seen if own is None else own
        if self._is_mujoco:
            count = self.inner.model.nq
            self.inner.set_state(state[:count], state[count:])
        elif self._is_classic:
            self.inner.state = state
        else:
            raise ValueError("the environment cannot be put into a state")
        return self.inner._get_obs()

    def step(self, control: np.ndarray) -> tuple[np.ndarray, float, str]:
        """One step under a control within the limits.

        Returns the control as it was applied, in the precision of the action space; the reward; and how the episode
        went on: "", "terminated" or "truncated".
        """
        action = np.minimum(np.maximum(control, self.lower), self.upper).astype(self.action_space.dtype)
        seen, reward, terminated, truncated, _ = self.env.step(action.reshape(self.action_space.shape))
        self._see(seen)
        return action.astype(np.float64), float(reward), "terminated" if terminated else "truncated" if truncated else ""

    def _see(self, seen: Any) -> None:
        if not self._is_plain:
            seen = utils.flatten(self.env.observation_space, seen)
        self.observation = np.array(seen, dtype=np.float64).ravel()

    @property
    def control_period(self) -> float:
        """Seconds between two controls; 1 for an environment that does not say."""
        for name in ("dt", "tau"):
            if isinstance(getattr(self.inner, name, None), (int, float)):
                return float(getattr(self.inner, name))
        rate = (self.env.metadata or {}).get("render_fps")
        return 1 / rate if rate else 1.0

    @property
    def state_names(self) -> list[str]:
        """A name for each number of the state."""
        count = len(self.state)
        names = getattr(self.inner, "gps_state_names", None)
        if names is not None:
            return list(names() if callable(names) else names)
        if hasattr(self.inner, "gps_state"):
            return [f"state_{i}" for i in range(count)]
        if self._is_mujoco:
            model = self.inner.model
            return [f"position_{i}" for i in range(model.nq)] + [f"velocity_{i}" for i in range(model.nv)]
        if self._is_classic:
            return [f"state_{i}" for i in range(count)]
        return self.observation_names

    @property
    def observation_names(self) -> list[str]:
        """A name for each number of the observation."""
        return [f"observation_{i}" for i in range(len(self.observation))]

    @property
    def control_names(self) -> list[str]:
        """A name for each control."""
        return [f"action_{i}" for i in range(len(self.lower))]


def load(name: str) -> Any:
    """The class "file.py:Class" or "module:Class"."""
    place, _, attribute = name.rpartition(":")
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location(os.path.basename(place)[:-3], os.path.abspath(place))
        if spec is None or spec.loader is None:
            raise ImportError(f"{place} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    return getattr(module, attribute)
