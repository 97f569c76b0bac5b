"""Add a task to the library, in NumPy: `python examples/own_task.py`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import residual_rl
from residual_rl.tasks import TASKS
from residual_rl.tasks.task import Task
from residual_rl.types import Observation, Spec, StepInfo

# --8<-- [start:world]
SPEC = Spec(observation_size=4, goal_size=2, action_size=2, horizon=40, reward_range=(-1.0, 0.0))
STEP = 0.1  # s
SLOPE = np.array([0.25, 0.0])  # m/s^2: the table is not level


class State(NamedTuple):
    """Of every episode: where the puck is, and how fast."""

    position: np.ndarray
    """[E, 2] m"""
    velocity: np.ndarray
    """[E, 2] m/s"""


class PuckWorld:
    """A puck on an air table, which an action pushes with up to 1 m/s^2."""

    spec = SPEC

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """Return the states and goals `[E, 2]` of new episodes, one for each generator."""
        drawn = np.array([rng.uniform(-0.5, 0.5, 4) for rng in rngs])
        return State(drawn[:, :2], np.zeros_like(drawn[:, :2])), drawn[:, 2:]

    def step(self, state: State, action: np.ndarray) -> State:
        """Return the states after one action `[E, 2]` in [-1, 1]."""
        velocity = 0.98 * state.velocity + (action + SLOPE) * STEP
        return State(state.position + velocity * STEP, velocity)

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """Return what a policy sees."""
        shown = np.concatenate([state.position, state.velocity], axis=1)
        return Observation(observation=shown, achieved_goal=state.position.copy(), desired_goal=goal.copy())

    def model_of(self, state: State, lane: int) -> Any:
        """Return the MuJoCo model of an episode. This world has none, so it cannot be drawn."""
        raise NotImplementedError

    def close(self) -> None:
        """Free threads; there are none."""
        # --8<-- [end:world]


# --8<-- [start:task]
def success(achieved_goal: np.ndarray, desired_goal: np.ndarray) -> np.ndarray:
    """Return whether the puck is within 5 cm of the goal: `[B, 2], [B, 2] -> [B]` bool."""
    return np.linalg.norm(achieved_goal - desired_goal, axis=-1) < 0.05


def reward(achieved_goal: np.ndarray, desired_goal: np.ndarray, info: StepInfo) -> np.ndarray:
    """Return 0 at the goal, else -1: `[B]`. Hindsight calls it with other goals."""
    return success(achieved_goal, desired_goal) - 1.0


PUCK = Task(
    name="puck",
    summary="bring a puck to a goal on an air table that is not level",
    gymnasium_id="Puck-v0",
    spec=SPEC,
    default_controller="zero",
    make_world=lambda num_threads: PuckWorld(),
    reward=reward,
    success=success,
)
TASKS[PUCK.name] = PUCK
PUCK.register()  # for gymnasium.make and gymnasium.make_vec
# --8<-- [end:task]


# --8<-- [start:improve]
def spring(observation: Observation) -> np.ndarray:
    """Pull the puck towards the goal and damp it: `Observation[B] -> [B, 2]`."""
    to_goal = observation["desired_goal"] - observation["achieved_goal"]
    return 2.0 * to_goal - 2.0 * observation["observation"][:, 2:]


def main(out: str = "runs/puck", **budget: Any) -> None:
    """Improve a controller in the new task."""
    run = residual_rl.improve("puck", spring, out=out, **budget)
    print(run.verdict())
    # --8<-- [end:improve]


if __name__ == "__main__":
    main()
