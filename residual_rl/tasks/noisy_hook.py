"""NoisyHook: Hook with noisy observations, in two frames.

Observation (80): the previous and the present frame, each the 40 entries of `hook.py` with its own noise. An episode begins
with its first frame twice. The two frames are part of this task, as published; in other environments a wrapper stacks frames,
see `docs/encoders.md`. Goal and achieved goal occur once and are exact, and so are reward and success: hindsight relabels with
true positions. Velocities, gripper and fingers are exact too.

Differs: according to the paper achieved goals are noisy too; in the published code, and in both tasks here, they are exact.

| entries of a frame | value |
|---|---|
| 3-4 | object x, y with noise; z is exact |
| 6-8 | that, minus the gripper |
| 12-14 | the values of 6-8 with their own noise: not the object's angles about y and z, nor its velocity along x |
| 25-27, 28-30 | hook position and hook angles, with noise |
| 37-39 | that position, minus the gripper |

Source: Silver et al. 2018, section V-A, and the code published with it.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np

from residual_rl.tasks import fetch, hook
from residual_rl.tasks.hook import HookWorld
from residual_rl.tasks.rules import HOOK
from residual_rl.tasks.rules import NOISY_HOOK as SPEC
from residual_rl.tasks.variants import Noise
from residual_rl.types import Observation

NUM_DRAWS = 11  # for one frame, in this order:
OBJECT_DRAWS, ROTATION_DRAWS, HOOK_DRAWS, HOOK_ROTATION_DRAWS = slice(0, 2), slice(2, 5), slice(5, 8), slice(8, 11)


class State(NamedTuple):
    """The state of a batch of episodes."""

    physics: np.ndarray
    """[E, S] MuJoCo's full physics state."""
    sensors: np.ndarray
    """[E, sensors] as the observation reads them."""
    shown: np.ndarray
    """[E, 80] the previous and the present frame."""
    elapsed: np.ndarray
    """[E] int, steps since the episode began."""
    noise: np.ndarray
    """[E, T + 1, 11] all noise of the episode, drawn at its start."""


class NoisyHookWorld:
    """HookWorld behind noise. Stateless: states are arguments and results.

    The noise of a whole episode is drawn at its start, from the lane's own generator. So a state determines everything after
    it, and base and learner see the same. An episode longer than the horizon repeats its noise.

    Differs: the published code draws from a generator that no seed of the environment reaches.
    """

    def __init__(self, noise: Noise, num_threads: int | None = None):
        self.noise = noise
        self.spec = SPEC
        self.hook = HookWorld(num_threads)

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """Start an episode for each generator; return their state and desired goals `[E, 3]`."""
        scene, goal = self.hook.reset(rngs)
        noise = np.stack([rng.normal(0.0, self.noise.std, (SPEC.horizon + 1, NUM_DRAWS)) for rng in rngs])
        elapsed = np.zeros(len(rngs), dtype=int)
        frame = self._frame(scene, noise, elapsed)
        return State(*scene, shown=np.concatenate([frame, frame], axis=1), elapsed=elapsed, noise=noise), goal

    def step(self, state: State, action: np.ndarray) -> State:
        """Return the state after one action `[E, 4]` in [-1, 1]."""
        scene = self.hook.step(_scene(state), action)
        elapsed = state.elapsed + 1
        noise = state.noise.copy()  # states share no memory
        frame = self._frame(scene, noise, elapsed)
        before = state.shown[:, HOOK.observation_size :]
        return State(*scene, shown=np.concatenate([before, frame], axis=1), elapsed=elapsed, noise=noise)

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """Return the observation of a state."""
        achieved = self.hook.arm.read(_scene(state), "object0_position").copy()
        return Observation(observation=state.shown.copy(), achieved_goal=achieved, desired_goal=goal.copy())

    def model_of(self, state: State, lane: int) -> mujoco.MjModel:
        """Return the model that shows a lane's episode."""
        return self.hook.model_of(_scene(state), lane)

    def close(self) -> None:
        """End the physics threads."""
        self.hook.close()

    def _frame(self, scene: fetch.State, noise: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
        draws = noise[np.arange(len(noise)), elapsed % noise.shape[1]]
        return disturb(hook.observe_hook(self.hook.arm, scene), draws, self.noise.of_rotation)


def disturb(frame: np.ndarray, draws: np.ndarray, of_rotation: bool) -> np.ndarray:
    """Return a frame with noise: `[E, 40], [E, 11] -> [E, 40]`."""
    seen = frame.copy()
    gripper = frame[:, 0:3]
    seen[:, 3:5] += draws[:, OBJECT_DRAWS]
    seen[:, 6:9] = seen[:, 3:6] - gripper
    if of_rotation:
        seen[:, 11:14] += draws[:, ROTATION_DRAWS]
    else:
        seen[:, 12:15] = seen[:, 6:9] + draws[:, ROTATION_DRAWS]
    seen[:, 25:28] += draws[:, HOOK_DRAWS]
    seen[:, 28:31] += draws[:, HOOK_ROTATION_DRAWS]
    seen[:, 37:40] = seen[:, 25:28] - gripper
    return seen


def _scene(state: State) -> fetch.State:
    return fetch.State(state.physics, state.sensors)
