"""A block on a table, and a goal for it: Push, MPCPush, SlipperyPush and PickAndPlace.

The observation is that of `fetch.py`. Source: Silver et al. 2018, section V-A, and the code published with it.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

import functools
from collections.abc import Sequence
from dataclasses import replace

import mujoco
import numpy as np

from residual_rl.tasks.fetch import WITH_HEAD, FetchArm, State, fetch_model, fetch_spec, settled_state
from residual_rl.tasks.physics import state_columns
from residual_rl.tasks.rules import BLOCK as SPEC
from residual_rl.tasks.variants import BlockScene
from residual_rl.types import Observation

START_RANGE = 0.15  # m, block and goal lie within this of the gripper, per axis
START_CLEARANCE = 0.1  # m, the block starts at least this far from the gripper
DROPPED_AT = (1.25, 0.53, 0.4, 1.0, 0.0, 0.0, 0.0)  # m and quaternion, where the block settles before it is moved aside


class BlockWorld:
    """The physics and rules of these tasks, for a batch of episodes. Stateless: states are arguments and results."""

    def __init__(self, scene: BlockScene, num_threads: int | None = None):
        self.scene = scene
        self.spec = SPEC
        self.arm = FetchArm(block_model(scene), blocked=scene.gripper_blocked, num_threads=num_threads)
        self._block = state_columns(self.arm.physics.model, "object0:joint")[0]
        self._start = self.arm.at(_start(scene)[None])
        self._gripper_start = self.arm.read(self._start, "gripper_position")[0]
        self._block_height = self.arm.read(self._start, "object0_position")[0, 2]

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """Start an episode for each generator; return their state and desired goals `[E, 3]`."""
        physics = np.repeat(self._start.physics, len(rngs), axis=0)
        goal = np.empty((len(rngs), 3))
        center = self._gripper_start[:2]
        for lane, rng in enumerate(rngs):
            start = rng.uniform(-START_RANGE, START_RANGE, 2)
            while np.linalg.norm(start) < START_CLEARANCE:
                start = rng.uniform(-START_RANGE, START_RANGE, 2)
            physics[lane, self._block.start : self._block.start + 2] = center + start
            goal[lane, :2] = center + rng.uniform(-START_RANGE, START_RANGE, 2)
            goal[lane, 2] = self._block_height
            if self.scene.goal_heights and rng.random() < 0.5:
                goal[lane, 2] += rng.uniform(0.0, self.scene.goal_heights)
        return self.arm.at(physics), goal

    def step(self, state: State, action: np.ndarray) -> State:
        """Return the state after one action `[E, 4]` in [-1, 1]."""
        return self.arm.step(state, (self.scene.action_gain * action).clip(-1.0, 1.0))

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """Return the observation of a state."""
        achieved = self.arm.read(state, "object0_position").copy()
        return Observation(observation=self.arm.observe(state), achieved_goal=achieved, desired_goal=goal.copy())

    def model_of(self, state: State, lane: int) -> mujoco.MjModel:
        """Return the model that shows a lane's episode."""
        return self.arm.physics.model

    def close(self) -> None:
        """End the physics threads."""
        self.arm.close()


@functools.cache
def _start(scene: BlockScene) -> np.ndarray:
    # The published SlipperyPush settles at stock friction too, and becomes slippery only then.
    stock = block_model(replace(scene, friction=None))
    return settled_state(stock, {"object0:joint": DROPPED_AT}, scene.extra_height)


@functools.cache
def block_model(scene: BlockScene, *, all_contacts: bool = False) -> mujoco.MjModel:
    """Return the scene's model, which is cached and shared: copy it before a change. `all_contacts` as in `fetch_model`."""
    spec = fetch_spec("push.xml" if scene.gripper_blocked else "pick_and_place.xml")
    if scene.friction is not None:
        for geom in spec.geoms:
            geom.friction = scene.friction
    return fetch_model(spec, self_contacts=() if scene.gripper_blocked else WITH_HEAD, all_contacts=all_contacts)
