"""Guided policy search: teaches a neural network to control a robot from a few hundred rollouts.

    import gps

    run = gps.train("peg-insertion", seed=1, progress=True)
    policy = gps.load(run.directory)
    action, _ = policy.predict(observation)

``gps.Env`` and ``gps.VectorEnv`` are the toolkit's tasks as Gymnasium environments.
"""

from typing import TYPE_CHECKING, Any

from ._library import GPSError, tasks, version
from .policy import Policy, load
from .training import Report, Run, train

if TYPE_CHECKING:
    from .environments import Env, VectorEnv

__all__ = ["Env", "GPSError", "Policy", "Report", "Run", "VectorEnv", "load", "tasks", "train", "version"]
__version__ = version()


def __getattr__(name: str) -> Any:
    # Gymnasium is needed for environments alone.
    if name in ("Env", "VectorEnv"):
        from . import environments

        return getattr(environments, name)
    raise AttributeError(f"module 'gps' has no attribute {name!r}")
