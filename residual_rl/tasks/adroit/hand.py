"""The Adroit hand among its objects: commands, physics, what it feels, and when an episode has succeeded.

Source: Rajeswaran et al. 2018 and its code (mj_envs), as described by Alakuijala et al. 2021. As there, an observation reads
positions of bodies and sites, and what the hand feels, as of the beginning of the last of five time steps; joints as of its
end.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any, ClassVar, NamedTuple

import mujoco
import numpy as np

from residual_rl.tasks.adroit.models import PLACED, adroit_model, adroit_picture_model
from residual_rl.tasks.adroit.task import PROPRIOCEPTION
from residual_rl.tasks.camera import Camera, free_camera
from residual_rl.tasks.physics import Physics
from residual_rl.tasks.view import ADROIT
from residual_rl.types import Observation, Spec

SUBSTEPS = 5
"""Time steps of 2 ms: 100 Hz."""
CAMERA = "vil_camera"
LARGEST_FORCE = 5.0
"""N, to which proprioception clips forces, in `door` and `hammer`."""
TOUCH = slice(20, 41)
"""Columns of the 21 touch sensors; before them are the forces of 20 motors."""


class State(NamedTuple):
    """Where the episodes stand."""

    physics: np.ndarray
    """[E, S] MuJoCo's full physics state."""
    sensors: np.ndarray
    """[E, sensors]"""
    place: np.ndarray
    """[E, 7] position in m and quaternion of the body that an episode places."""
    reached: np.ndarray
    """[E] number of steps at whose end the goal was reached."""


class AdroitWorld(ABC):
    """The physics and rules of an Adroit task, for a batch of episodes. Stateless: states are arguments and results.

    An episode succeeds, and ends, as soon as the goal was reached in more than `steps_needed` of its steps, in a row or not.
    """

    task: ClassVar[str]
    """`door`, `hammer`, `pen` or `relocate`."""
    spec: Spec
    steps_needed: ClassVar[int] = 25

    def __init__(self, num_threads: int | None = None):
        model = adroit_model(self.task)
        self.proprioception_size = PROPRIOCEPTION[self.task]
        self.physics = Physics(model, SUBSTEPS, num_threads, feels=True)
        low, high = model.actuator_ctrlrange.T
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        data = mujoco.MjData(model)
        self._start = np.empty(self.physics.state_size)
        mujoco.mj_getState(model, data, self._start, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        body = model.body(PLACED[self.task])
        self.stock_place = np.concatenate([body.pos, body.quat])
        self.nq = model.nq

    @abstractmethod
    def place(self, rng: np.random.Generator, place: np.ndarray, qpos: np.ndarray) -> None:
        """Draw an episode's start: write into `place` `[7]`, and into joint positions `[nq]`."""

    @abstractmethod
    def observe_state(self, state: State) -> np.ndarray:
        """Return the full observation `[E, O]`."""

    @abstractmethod
    def is_reached(self, physics: np.ndarray, sensors: np.ndarray) -> np.ndarray:
        """Return whether the goal is reached: `[E]` bool."""

    @abstractmethod
    def dense_reward(self, state: State) -> np.ndarray:
        """Return the published dense reward of the last step `[E]`."""

    @abstractmethod
    def proprioception(self, state: State) -> np.ndarray:
        """Return the hand's own sensors `[E, P]`: joints, in most tasks their velocities, palm, forces and touch.

        In `door` and `hammer` the first forces are those of motors. `hammer` has the nail's slide and the force on it too, so
        it is not of the hand alone. Source: the code of Alakuijala et al. 2021, after Jain et al. 2019.
        """

    def take(self, eye: Any, state: State, lanes: np.ndarray, out: np.ndarray) -> None:
        """Write pictures of some lanes `[L]` of a state into `out` `[L, size, size, channels]`."""
        eye.take(state.physics[lanes], state.place[lanes], out)

    def camera(self, size: int) -> Camera:
        """Return the camera of Jain et al. 2019, for pictures of `size` pixels. All environments of a process share it."""
        return _camera(self.task, size)

    def onlooker(self, size: int) -> Camera:
        """Return a camera that shows the scene to people, from the side."""
        return _onlooker(self.task, size)

    def has_failed(self, state: State) -> np.ndarray:
        """Return whether success can no longer come: `[E]` bool."""
        return np.zeros(len(state.physics), dtype=bool)

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """Start an episode for each generator; goals have width 0."""
        physics = np.tile(self._start, (len(rngs), 1))
        place = np.tile(self.stock_place, (len(rngs), 1))
        for lane, rng in enumerate(rngs):
            self.place(rng, place[lane], physics[lane, 1 : 1 + self.nq])
        control = self._control(np.zeros((len(rngs), len(self._middle))), place)
        return State(physics, self.physics.feel(physics, control), place, np.zeros(len(rngs), np.int64)), np.zeros(
            (len(rngs), 0)
        )

    def step(self, state: State, action: np.ndarray) -> State:
        """Return the state after one action `[E, A]` in [-1, 1], which spans each motor's range of target positions."""
        physics, sensors = self.physics.step_and_feel(
            state.physics, self._control(self._middle + self._half * action, state.place)
        )
        return State(physics, sensors, state.place.copy(), state.reached + self.is_reached(physics, sensors))

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """Return the observation of a state."""
        return Observation(observation=self.observe_state(state), achieved_goal=goal.copy(), desired_goal=goal.copy())

    def signals(self, state: State) -> Mapping[str, np.ndarray]:
        """Return `is_success`, `terminated`, `at_goal` `[E]` bool and `dense_reward` `[E]` of the last step."""
        success = state.reached > self.steps_needed
        return {
            "is_success": success,
            "terminated": success | self.has_failed(state),
            "at_goal": self.is_reached(state.physics, state.sensors),
            "dense_reward": self.dense_reward(state),
        }

    def model_of(self, state: State, lane: int) -> mujoco.MjModel:
        """Return a model that shows a lane's episode, with the body that it placed."""
        model = adroit_picture_model(self.task, 8)
        shown, body = copy(model), model.body(PLACED[self.task]).id
        shown.body_pos[body], shown.body_quat[body] = state.place[lane, :3], state.place[lane, 3:]
        return shown

    def close(self) -> None:
        """End the physics threads."""
        self.physics.close()

    def read(self, sensors: np.ndarray, name: str) -> np.ndarray:
        """Return the values of one sensor: `[E, N]`."""
        return sensors[:, self.physics.sensor_columns(name)]

    def joints(self, state: State) -> np.ndarray:
        """Return joint positions `[E, nq]`, in rad and m."""
        return state.physics[:, 1 : 1 + self.nq]

    def velocities(self, state: State) -> np.ndarray:
        """Return joint velocities `[E, nq]`, in rad/s and m/s."""
        return state.physics[:, 1 + self.nq : 1 + 2 * self.nq]

    def _control(self, targets: np.ndarray, place: np.ndarray) -> np.ndarray:
        return np.concatenate([targets, place], axis=1)


@cache
def _camera(task: str, size: int) -> Camera:
    return Camera(adroit_picture_model(task, size), CAMERA, size)


@cache
def _onlooker(task: str, size: int) -> Camera:
    return Camera(adroit_picture_model(task, size), free_camera(ADROIT), size)


def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance of points: `[E, 3], [E, 3] -> [E]`."""
    return np.linalg.norm(first - second, axis=1)
