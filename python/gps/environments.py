"""The toolkit's tasks as Gymnasium environments."""

from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from ._library import Owned, assignments, described, experiment_file, quick, library

_TERMINATED, _HORIZON, _SUCCESS, _FAILED = 1, 2, 3, 4


class _Copies:
    """Copies of a task, stepped together."""

    def __init__(self, experiment: str | os.PathLike[str], settings: Mapping[str, Any] | None, count: int, workers: int):
        self._owned = Owned(
            "gps_environment_make", os.fsencode(experiment_file(experiment)), assignments(settings), count, workers
        )
        facts = described(quick.gps_environment_describe(self._owned.handle))
        o, m = facts["observations"], facts["controls"]
        self.facts = facts
        self.conditions: list[str] = facts["conditions"]
        self.all_conditions: list[str] = facts["conditions"] + facts["testConditions"]
        self.observations, self.controls = np.zeros((count, o)), np.zeros((count, m))
        self.resets, self.conditions_now = np.zeros(count, np.uint8), np.zeros(count, np.int32)
        self.seeds, self.rewards, self.ends = np.zeros(count, np.uint64), np.zeros(count), np.zeros(count, np.int32)
        told = [self.controls, self.resets, self.conditions_now, self.seeds, self.observations, self.rewards, self.ends]
        self._arguments = [self._owned.handle] + [array.ctypes.data for array in told]
        # One copy takes less time than to let go of Python's lock.
        self._advance = (quick if count == 1 else library).gps_environment_advance
        low, high = facts.get("lower"), facts.get("upper")
        low, high = (np.array(bound or [inf] * m, dtype=np.float32) for bound, inf in ((low, -np.inf), (high, np.inf)))
        self.action_space = Box(low, high, dtype=np.float32)
        self.observation_space = Box(-np.inf, np.inf, (o,), dtype=np.float64)

    def advance(self) -> None:
        self._advance(*self._arguments)

    def condition(self, options: Mapping[str, Any] | None, generator: np.random.Generator) -> int:
        """The one that options ask for, by name or number, or one of the training conditions."""
        asked = (options or {}).get("condition")
        if asked is None:
            return int(generator.integers(len(self.conditions)))
        if isinstance(asked, str):
            if asked not in self.all_conditions:
                raise ValueError(f"no condition is called {asked!r} (there are {', '.join(self.all_conditions)})")
            return self.all_conditions.index(asked)
        if not 0 <= asked < len(self.all_conditions):
            raise ValueError(f"condition {asked} is none of the {len(self.all_conditions)}")
        return int(asked)

    def begin(self, index: int, options: Mapping[str, Any] | None, generator: np.random.Generator) -> None:
        """Marks a copy to be reset."""
        self.resets[index] = 1
        self.conditions_now[index] = self.condition(options, generator)
        self.seeds[index] = generator.integers(2**63)


class Env(gymnasium.Env[np.ndarray, np.ndarray]):
    """A task of the toolkit: what the network sees, the controls within their limits, minus the cost.

    A reset begins one of the training conditions, with whatever noise it has; ``options={"condition": NAME}`` says which
    one, and test conditions have names too. An episode is as long as a rollout; the sum of its rewards is minus the cost
    of that. ``terminated`` is the task's own termination, ``truncated`` the horizon; then ``info["is_success"]`` says
    whether the task is done, for tasks that judge that.
    """

    metadata = {"render_modes": []}

    def __init__(
        self, experiment: str | os.PathLike[str], settings: Mapping[str, Any] | None = None, render_mode: str | None = None
    ):
        """Makes an environment of an experiment's task.

        Args:
            experiment: a YAML file, or the name of one of ``gps.tasks()``.
            settings: others than the file's, by path: ``{"horizon": 50}``.
            render_mode: None: ``gps video`` draws.

        Raises:
            GPSError: if the experiment is wrong.
        """
        self._copies = _Copies(experiment, settings, 1, 1)
        self.observation_space, self.action_space = self._copies.observation_space, self._copies.action_space
        self.render_mode = render_mode

    @property
    def conditions(self) -> list[str]:
        """Names of the training conditions, then those of the test conditions."""
        return self._copies.all_conditions

    @property
    def control_period(self) -> float:
        """Seconds between two steps."""
        return self._copies.facts["controlPeriod"]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode.

        Raises:
            RuntimeError: if the plant cannot start there.
        """
        super().reset(seed=seed)
        copies = self._copies
        copies.begin(0, options, self.np_random)
        copies.advance()
        if copies.ends[0] == _FAILED:
            raise RuntimeError(f"condition {copies.all_conditions[copies.conditions_now[0]]} cannot be begun")
        return copies.observations[0].copy(), {"condition": copies.all_conditions[copies.conditions_now[0]]}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control period."""
        copies = self._copies
        copies.controls[0] = action
        copies.resets[0] = 0
        copies.advance()
        end = copies.ends[0]
        info: dict[str, Any] = {}
        if end:
            info = {"is_success": bool(end == _SUCCESS), "is_failure": bool(end == _FAILED)}
        return copies.observations[0].copy(), float(copies.rewards[0]), bool(end == _TERMINATED), bool(end > _TERMINATED), info


class VectorEnv(gymnasium.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Copies of a task, stepped at once on several cores; an episode that has ended begins anew at the next step."""

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        experiment: str | os.PathLike[str],
        num_envs: int,
        settings: Mapping[str, Any] | None = None,
        workers: int | None = None,
    ):
        """Makes copies of an experiment's task.

        Args:
            experiment: a YAML file, or the name of one of ``gps.tasks()``.
            num_envs: how many.
            settings: others than the file's, by path.
            workers: how many are stepped at once; one per core by default.

        Raises:
            GPSError: if the experiment is wrong.
        """
        self.num_envs = num_envs
        self._copies = _Copies(experiment, settings, num_envs, workers or 0)
        self.single_observation_space, self.single_action_space = self._copies.observation_space, self._copies.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode of every copy; ``seed`` is that of the first, the next ones have the next ones."""
        if seed is None:
            seeds: list[int | None] = [None] * self.num_envs
        elif isinstance(seed, int):
            seeds = [seed + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if not hasattr(self, "_generators") or any(own is not None for own in seeds):
            self._generators = [np.random.default_rng(own) for own in seeds]
        for i, generator in enumerate(self._generators):
            self._copies.begin(i, options, generator)
        self._copies.advance()
        return self._copies.observations.copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control period of every copy."""
        copies = self._copies
        copies.controls[:] = actions
        over = np.flatnonzero(copies.ends)
        copies.resets[:] = 0
        for i in over:
            copies.begin(i, None, self._generators[i])
        copies.advance()
        ends = copies.ends
        info: dict[str, Any] = {}
        if ends.any():
            info = {"is_success": ends == _SUCCESS, "_is_success": ends != 0}
        return copies.observations.copy(), copies.rewards.copy(), ends == _TERMINATED, ends > _TERMINATED, info
