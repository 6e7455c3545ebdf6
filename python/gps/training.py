"""Runs."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Any, Callable, Mapping

from . import _library
from ._library import GPSError, Owned, assignments, experiment_file, library, taken
from .policy import Policy, load


@dataclass(frozen=True)
class Report:
    """What one iteration did."""

    iteration: int
    """Its number, from 0."""
    iterations: int
    """How many the run has."""
    rollouts: int
    """Rollouts since the beginning of the run."""
    mean_cost: float
    """Mean cost of the training rollouts."""
    policy_cost: float | None
    """Mean cost of the network without noise; None without one."""
    policy_success: float | None
    """Its success rate from 0 to 1; None where the task judges none."""
    metrics: Mapping[str, float]
    """The numbers of ``progress.csv``."""
    notes: list[str]
    """What was out of the ordinary, one sentence each."""


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    directory: str
    """Where it is written down."""
    summary: Mapping[str, Any]
    """``summary.json``."""

    @property
    def policy(self) -> Policy:
        """The policy that the run keeps."""
        return load(self.directory)


def train(
    experiment: str | os.PathLike[str],
    *,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    replace: bool = False,
    callback: Callable[[Report], bool | None] | None = None,
    progress: bool = False,
) -> Run:
    """Runs an experiment, as ``gps run`` does, byte for byte.

    Python's lock is free meanwhile. Ctrl-C, and an exception in ``callback``, end the run: what there is is written down,
    and ``gps resume`` goes on from there.

    Args:
        experiment: a YAML file, or the name of one of ``gps.tasks()``.
        seed: of all randomness; the file's by default.
        settings: others than the file's, by path: ``{"algorithm.iterations": 5}``.
        output: the run directory; a new one below ``runs`` by default.
        workers: how many rollouts at once; one per core by default.
        replace: whether a run that is there already may be replaced.
        callback: called after each iteration, before the next one goes on; False ends the run.
        progress: shows a bar (with tqdm, if that is installed, in notebooks too), or a line an iteration.

    Returns:
        The run, whose ``summary["outcome"]`` says whether it was completed.

    Raises:
        GPSError: if the experiment is wrong, or the run fails.
    """
    settings = dict(settings or {})
    if seed is not None:
        settings["seed"] = seed
    owned = Owned(
        "gps_run_start",
        os.fsencode(experiment_file(experiment)),
        assignments(settings),
        os.fsencode(output) if output is not None else b"",
        workers or 0,
        replace,
    )
    said = ctypes.c_void_p()
    bar = _Bar() if progress else None
    problem: BaseException | None = None
    while True:
        try:
            # Short, so that Ctrl-C is heard.
            kind = library.gps_run_next(owned.handle, 0.05, ctypes.byref(said))
            if kind == 0:
                continue
            text = taken(said.value)
            if kind == 1:
                if problem is not None:
                    continue
                report = _report(text)
                if bar is not None:
                    bar.show(report)
                if callback is not None and callback(report) is False:
                    library.gps_run_stop(owned.handle)
                continue
        except BaseException as error:
            problem = problem or error
            library.gps_run_stop(owned.handle)
            continue
        break
    if bar is not None:
        bar.close()
    if problem is not None:
        raise problem
    if kind == 3:
        raise GPSError(text)
    result = _library.json.loads(text)
    return Run(result["directory"], result["summary"])


def _report(text: str) -> Report:
    facts = _library.json.loads(text)
    return Report(
        iteration=facts["iteration"],
        iterations=facts["iterations"],
        rollouts=facts["rollouts"],
        mean_cost=float(facts["meanCost"]),
        policy_cost=facts.get("policyCost"),
        policy_success=facts.get("policySuccess"),
        metrics=facts["metrics"],
        notes=facts["notes"],
    )


class _Bar:
    """Progress, with tqdm where there is one."""

    def __init__(self) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            tqdm = None
        self._tqdm, self._bar = tqdm, None

    def show(self, report: Report) -> None:
        success = "" if report.policy_success is None else f", success {100 * report.policy_success:.0f} %"
        cost = report.mean_cost if report.policy_cost is None else report.policy_cost
        words = f"cost {cost:.4g}{success}"
        if self._tqdm is None:
            print(f"iteration {report.iteration} ({report.iteration + 1}/{report.iterations}): {words}", file=sys.stderr)
            return
        if self._bar is None:
            self._bar = self._tqdm(total=report.iterations, unit="iteration")
        self._bar.update()
        self._bar.set_postfix_str(words)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
