"""Answers the messages of guided policy search."""

from __future__ import annotations

import json
import math
import traceback
from typing import BinaryIO

import numpy as np

from . import wire
from .environments import Environment
from .policies import Policy

PROTOCOL = 1


def serve(messages: BinaryIO, answers: BinaryIO) -> None:
    """Answers messages until there are no more."""
    environment: Environment | None = None
    while (message := wire.read(messages)) is not None:
        texts, arrays = message
        progress = [0]  # the step at hand, for failures
        try:
            if texts["message"] == "hello":
                environment = Environment(json.loads(texts["settings"]), int(texts["horizon"]))
                wire.write(answers, *_description(environment))
            elif environment is None:
                raise ValueError(f"{texts['message']} before hello")
            elif texts["message"] == "reset":
                _reset(environment, texts, arrays)
                wire.write(answers, {"message": "present"}, {"state": environment.state, "observation": environment.observation})
            elif texts["message"] == "step":
                _, reward, end = environment.step(arrays["control"])
                now = {"state": environment.state, "observation": environment.observation, "reward": np.float64(reward)}
                wire.write(answers, {"message": "present", "end": end}, now)
            elif texts["message"] == "rollout":
                wire.write(answers, *_rollout(environment, texts, arrays, progress))
            else:
                raise ValueError(f"the message {texts['message']!r} is unknown")
        except Exception as error:
            traceback.print_exc()
            said = str(error).strip().splitlines()
            reason = f"{type(error).__name__}: {said[-1]}" if said else type(error).__name__
            wire.write(answers, {"message": "failure", "reason": reason, "step": str(progress[0])})


def _description(environment: Environment) -> tuple[wire.Texts, wire.Arrays]:
    texts = {
        "message": "system",
        "protocol": str(PROTOCOL),
        "title": environment.title,
        "state_names": json.dumps(environment.state_names),
        "observation_names": json.dumps(environment.observation_names),
        "control_names": json.dumps(environment.control_names),
        "sets_state": json.dumps(environment.sets_state),
        "pays_rewards": "true",
        "policies": ",".join(Policy.kinds),
    }
    arrays = {"control_lower": environment.lower, "control_upper": environment.upper, "control_period": np.float64(environment.control_period)}
    return texts, arrays


def _reset(environment: Environment, texts: wire.Texts, arrays: wire.Arrays) -> None:
    environment.reset(int(texts["seed"]), json.loads(texts["options"]), arrays.get("state"))


def _rollout(environment: Environment, texts: wire.Texts, arrays: wire.Arrays, progress: list[int]) -> tuple[wire.Texts, wire.Arrays]:
    policy = Policy(texts["policy"], texts, arrays)
    noise = policy.noise(arrays["noise"])
    _reset(environment, texts, arrays)
    states, observations, controls, rewards = [environment.state], [environment.observation], [], []
    end = ""
    for t in range(len(noise)):
        progress[0] = t
        control = policy(t, states[-1], observations[-1]) + noise[t]
        # Not left to the environment, which may do anything with them.
        if not math.isfinite(sum(control)):
            raise ValueError(f"the controls are {control}, which are not finite")
        control, reward, end = environment.step(control)
        states.append(environment.state)
        observations.append(environment.observation)
        controls.append(control)
        rewards.append(reward)
        if end:
            break
    taken = {"states": states, "observations": observations, "controls": controls, "rewards": rewards}
    return {"message": "trajectory", "end": end}, {name: np.array(rows) for name, rows in taken.items()}
