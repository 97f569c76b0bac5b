"""ComplexHook: Hook with bumps on the table and an object that differs from scene to scene.

The episodes of a batch are in different scenes (`scenes.py`), each with a model of its own (`scene_models.py`). The number of
an episode's scene is part of its state. The observation is that of `hook.py`: it does not show the scene.

Source: Silver et al. 2018, section V-A; the scene files and the code published with it.
Differs: an object that strays is let go without straying, and moved afterwards; published, some fell beside the table. In the
scenes drawn afresh, as in all others, objects start in the narrower range of the published code, and their "friction" in the
paper is the damping of their joint, as in the code.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import mujoco
import numpy as np

from residual_rl.tasks import fetch
from residual_rl.tasks.fetch import ROBOT, SETTLING_STEPS, SUBSTEPS, FetchArm, fetch_model
from residual_rl.tasks.hook import (
    HOOK_DROPPED_AT,
    OBJECT_DROPPED_AT,
    SELF_CONTACTS,
    UPRIGHT,
    Starts,
    hook_spec,
    hook_start,
    observe_hook,
)
from residual_rl.tasks.objects import Shape
from residual_rl.tasks.physics import state_columns
from residual_rl.tasks.rules import HOOK as SPEC
from residual_rl.tasks.scene_models import SceneModels, make_room
from residual_rl.tasks.scenes import SITE_HEIGHT, draw_scene, furnish
from residual_rl.tasks.variants import Variant
from residual_rl.tasks.versions import find_several_contacts
from residual_rl.types import Observation

STARTS = Starts(object_x=(1.75, 1.85))  # m; Hook's reaches 5 cm farther
DROP_HEIGHT = 0.6  # m, of hook and object, 0.2 m above the table
TABLE_TOP = 0.4  # m
CLEARANCE = 0.001  # m over the highest bump, at which an object that settles in place is let go
SCENES_KEPT = 1024  # compiled, without the robot, for all worlds of a process: about 50 kB each
SITES = ("object0", "hook")
JOINTS = ("object0:joint", "hook:joint")


class State(NamedTuple):
    """The state of a batch of episodes."""

    physics: np.ndarray
    """[E, S] MuJoCo's full physics state."""
    sensors: np.ndarray
    """[E, sensors] as the observation reads them."""
    scene: np.ndarray
    """[E] int64, the number that determines bumps and object."""

    @property
    def of_arm(self) -> fetch.State:
        """The state without its scene."""
        return fetch.State(self.physics, self.sensors)


class ComplexHookWorld:
    """The physics and rules of ComplexHook, for a batch of episodes. Stateless: states are arguments and results.

    It keeps the models of the scenes in play, so two threads must not use it at once.
    """

    def __init__(self, variant: Variant, num_threads: int | None = None):
        self.variant = variant
        self.spec = SPEC
        master = _master(variant.shapes)
        self.arm = FetchArm(master, blocked=False, num_threads=num_threads)
        self._columns = [state_columns(master, joint) for joint in JOINTS]
        self._start = hook_start()  # of the robot; objects settle by scene
        self._models = SceneModels(self.arm.physics.stepper, functools.partial(scene_model, variant))
        self._workers = ThreadPoolExecutor(self.arm.physics.num_threads)

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """Start an episode for each generator; return their state and desired goals `[E, 3]`."""
        physics = np.tile(self._start, (len(rngs), 1))
        start, goal = np.empty((len(rngs), 2)), np.empty((len(rngs), 3))
        scenes = []
        for lane, rng in enumerate(rngs):
            scenes.append(int(rng.integers(self.variant.pool or 2**63 - 1)))
            start[lane], goal[lane] = STARTS.draw(rng)
            start[lane] += draw_scene(self.variant, scenes[-1]).stray
            scene_model(self.variant, scenes[-1])  # compiled here: the workers only step
        if self.variant.settles_in_place:
            settled = self._workers.map(functools.partial(_settle, self.variant), scenes, start.tolist())
        else:
            settled = self._workers.map(functools.partial(_settle_aside, self.variant), scenes)
        for joint, (position, velocity) in zip(np.array(list(settled)).swapaxes(0, 1), self._columns, strict=True):
            physics[:, position], physics[:, velocity] = np.split(joint, [7], axis=1)
        if not self.variant.settles_in_place:
            physics[:, self._columns[0][0]][:, :2] = start
        return State(*self.arm.at(physics), np.array(scenes)), goal

    def step(self, state: State, action: np.ndarray) -> State:
        """Return the state after one action `[E, 4]` in [-1, 1]."""
        return State(*self.arm.step(state.of_arm, action, self._models.of(state.scene)), state.scene.copy())

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """Return the observation of a state."""
        achieved = self.arm.read(state.of_arm, "object0_position").copy()
        return Observation(observation=observe_hook(self.arm, state.of_arm), achieved_goal=achieved, desired_goal=goal.copy())

    def model_of(self, state: State, lane: int) -> mujoco.MjModel:
        """Return the model that shows a lane's scene."""
        return self.drawable(int(state.scene[lane]))

    def drawable(self, scene: int) -> mujoco.MjModel:
        """Return the model of a scene with the whole robot, compiled from scratch: for drawing, or as a reference."""
        return _model(furnish(_spec(), draw_scene(self.variant, scene)))

    def close(self) -> None:
        """End all threads."""
        self.arm.close()
        self._workers.shutdown()


@functools.lru_cache(SCENES_KEPT)
def scene_model(variant: Variant, scene: int) -> mujoco.MjModel:
    """Return a scene without the robot. It is cached and shared: do not change it."""
    return furnish(_bare().copy(), draw_scene(variant, scene)).compile()


@functools.lru_cache(SCENES_KEPT)
def _settle_aside(variant: Variant, scene: int) -> np.ndarray:
    """Do the same as `_settle`, with the object dropped at a place without bumps."""
    return _settle(variant, scene, OBJECT_DROPPED_AT[:2])


def _settle(variant: Variant, scene: int, place: Sequence[float]) -> np.ndarray:
    """Return pose and velocity `[2, 13]` of object and hook some time after a drop, the object's at `place` (x, y)."""
    model = scene_model(variant, scene)
    data = mujoco.MjData(model)
    over_bumps = TABLE_TOP + variant.highest_bump + CLEARANCE + SITE_HEIGHT
    height = over_bumps if variant.settles_in_place else DROP_HEIGHT
    data.joint("object0:joint").qpos[:] = (*place, height, *UPRIGHT)
    data.joint("hook:joint").qpos[:] = (*HOOK_DROPPED_AT[:2], DROP_HEIGHT, *UPRIGHT)
    mujoco.mj_step(model, data, SETTLING_STEPS * SUBSTEPS)
    return np.array([[*data.joint(name).qpos, *data.joint(name).qvel] for name in JOINTS])


@functools.lru_cache(8)
def _master(shapes: Callable[[], tuple[Shape, ...]] | None) -> mujoco.MjModel:
    """Return one model for all scenes: sensors and robot do not depend on bumps or objects."""
    return _model(make_room(_spec(), shapes() if shapes else ()))


@functools.cache
def _bare() -> mujoco.MjSpec:
    return _without_robot(_spec())


def _spec() -> mujoco.MjSpec:
    """Return Hook's scene, with several contact points between faces that lie on each other.

    Differs: by default, as published, MuJoCo finds a single point where meshes touch. The objects' damping holds them upright
    over it, and those with flat faces sink up to 3 cm into the table.
    """
    spec = hook_spec()
    find_several_contacts(spec.option)
    return spec


def _model(spec: mujoco.MjSpec) -> mujoco.MjModel:
    return fetch_model(spec, SITES, self_contacts=SELF_CONTACTS)


def _without_robot(spec: mujoco.MjSpec) -> mujoco.MjSpec:
    """Remove the robot, which touches nothing while objects settle; change and return the scene."""
    for element in (*spec.equalities, *spec.actuators, *spec.sensors, *spec.excludes, *spec.textures):
        spec.delete(element)
    for mesh in list(spec.meshes):
        if mesh.name.startswith(ROBOT):
            spec.delete(mesh)
    for body in list(spec.worldbody.bodies):
        if body.name.startswith(ROBOT):
            spec.delete(body)
    for geom in spec.geoms:
        geom.material = ""
    return spec
