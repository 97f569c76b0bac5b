"""Improve a controller that is fitted to demonstrations inside the run: `python examples/own_controller.py`."""

import hashlib
from pathlib import Path
from typing import Any, Self

import ball_on_beam  # noqa: F401, registers BallOnBeam-v0
import numpy as np

import residual_rl
from residual_rl.controllers.artefacts import ARTEFACTS, Preparation, Report
from residual_rl.errors import ControllerError
from residual_rl.residual import Composition
from residual_rl.rollout import collect
from residual_rl.seeds import Purpose
from residual_rl.tasks.task import AnyTask
from residual_rl.types import Observation


# --8<-- [start:artefact]
class Linear:
    """A linear controller: an artefact, because its weights are all that a run must keep of it."""

    kind = "linear"
    reads_goal = False

    def __init__(self, weights: np.ndarray):
        self.weights = weights  # [O, A]

    @property
    def digest(self) -> str:
        """Return what tells these weights from others."""
        return hashlib.sha256(self.weights.tobytes()).hexdigest()

    def __call__(self, observation: Observation) -> np.ndarray:
        """Return a base action for each row, in units where the bounds are -1 and 1: `[B, A]`."""
        return observation["observation"] @ self.weights

    def save(self, path: Path) -> None:
        """Write the weights into the directory."""
        np.save(path / "linear.npy", self.weights)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return what `save` wrote."""
        try:
            return cls(np.load(path / "linear.npy", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise ControllerError(f"{path} holds no linear controller: {error}") from error


ARTEFACTS[Linear.kind] = Linear  # so that `load` finds the class and need not be given the controller
# --8<-- [end:artefact]


# --8<-- [start:prepared]
def demonstrator(observation: Observation) -> np.ndarray:
    """Return what an operator would do: `Observation[B] -> [B, 1]`."""
    error, velocity = observation["observation"][:, :1], observation["observation"][:, 1:2]
    return (8.0 * error - 2.0 * velocity).clip(-1.0, 1.0)


class Demonstrated:
    """A base that is made inside the run: record demonstrations, and fit a linear controller to them."""

    def __init__(self, episodes: int = 5):
        self.episodes = episodes
        self.settings = {"episodes": episodes}  # a run goes on only with the same

    def prepare(self, task: AnyTask, budget: int, seed: int, directory: Path, report: Report) -> Preparation:
        """Record the episodes that are not in the directory yet, then fit the controller."""
        lanes = task.open_lanes()
        shown, done = [], []
        for number in range(self.episodes):
            file = directory / f"demonstration-{number}.npz"
            if not file.exists():
                seeds = [Purpose.PREPARATION + 1000 * seed + number]
                (episode,), _ = collect(lanes, demonstrator, Composition(), no_residual, seeds)
                steps = episode.transitions
                np.savez(file, shown=steps.observation["observation"], done=steps.action)
            with np.load(file, allow_pickle=False) as kept:
                shown.append(kept["shown"])
                done.append(kept["done"])
            report(sum(map(len, done)))  # these steps are safe; raises Interrupted if the run must stop
        weights, *_ = np.linalg.lstsq(np.concatenate(shown), np.concatenate(done))
        return Preparation(Linear(weights), sum(map(len, done)))

    def load(self, directory: Path) -> Linear:
        """Return the controller that was made."""
        return Linear.load(directory)


def no_residual(observation: Observation, base_action: np.ndarray, step: int) -> np.ndarray:
    """Return zeros: the demonstrator acts alone."""
    return np.zeros_like(base_action)
    # --8<-- [end:prepared]


def main(out: str = "runs/ball-on-beam-demonstrated", **budget: Any) -> None:
    """Prepare the base, improve it, and load the policy."""
    # --8<-- [start:improve]
    run = residual_rl.improve("BallOnBeam-v0", Demonstrated(), out=out, **budget)
    print(run.verdict())
    policy = residual_rl.load(out)  # the run holds the base
    print(policy(np.zeros(4)))
    # --8<-- [end:improve]


if __name__ == "__main__":
    main()
