"""MBRLPusher: an arm of seven joints without gravity, a cylinder on a table, and a goal for the cylinder.

Observation (20). Lengths in m, angles in rad, velocities in rad/s:

| entries | what | |
|---|---|---|
| 0-6 | joint positions | from the shoulder to the wrist |
| 7-13 | joint velocities | |
| 14-16 | tip position | world; the middle of the fork that the arm pushes with |
| 17-19 | object position | world |

Differs: the paper lists the object before the tip. In the published code, positions 14-19 were those of 0.01 s before, because
they were not recomputed after the last substep; here all entries are of one moment.

Action (7): the motors' torques in N m, in [-1, 1]. The motors could take [-2, 2], but learner and base stay within [-1, 1], as
in the published code.

The reward of a step depends on the distances from tip to object and from object to goal, so episodes are compared by their
return, and success is a by-product: see `Rules`.

Source: Silver et al. 2018, section V-A, after Chua et al. 2018, and the code published with it.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np

from residual_rl.tasks.physics import Physics, state_columns
from residual_rl.tasks.rules import OBJECT_ORIGIN, Rules
from residual_rl.tasks.rules import PUSHER as SPEC
from residual_rl.tasks.variants import PUSHER_AS_RUN
from residual_rl.tasks.versions import find_one_contact, margin_of_each, set_damping
from residual_rl.types import Observation

SUBSTEPS = 4
SUBSTEP_SECONDS = 0.01
GOAL = (0.45, -0.05)  # m, the same in every episode
OBJECT_START = (0.15, -0.25)  # m along x and y from the origin: (0.60, -0.30) in the world
OBJECT_START_STD = 0.025  # m, along each of the two
MAX_START_VELOCITY = 0.005  # rad/s of each joint of the arm
TABLE_HEIGHT = -0.325  # m

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


class Link(NamedTuple):
    """A moving part of the arm, with the joint that it turns about."""

    joint: str
    axis: tuple[float, float, float]
    limits: tuple[float, float]
    """rad"""
    damping: float
    """N m s/rad"""
    offset: tuple[float, float, float]
    """m, from the previous link's joint to this one's."""
    capsules: tuple[tuple[float, ...], ...]
    """From x, y, z to x, y, z, and the radius: m. They give the link its mass, and touch nothing."""
    spheres: tuple[tuple[float, ...], ...] = ()
    """Centre x, y, z and radius: m. They give the link its mass, and touch nothing."""
    fork: tuple[tuple[float, ...], ...] = ()
    """The capsules that push."""


ARM = (
    Link(
        "shoulder_pan",
        Z,
        (-2.2854, 2.0),
        1.0,
        (0.0, -0.6, 0.0),
        capsules=((0, 0, -0.4, 0, 0, 0.2, 0.1),),
        spheres=tuple((x, y, 0.2, radius) for y, radius in ((0.05, 0.05), (0.09, 0.03)) for x in (-0.06, 0.06)),
    ),
    Link("shoulder_lift", Y, (-0.5236, 1.3963), 1.0, (0.1, 0.0, 0.0), capsules=((0, -0.1, 0, 0, 0.1, 0, 0.1),)),
    Link(
        "upper_arm_roll",
        X,
        (-1.5, 1.7),
        0.1,
        (0.0, 0.0, 0.0),
        capsules=((-0.1, 0, 0, 0.1, 0, 0, 0.02), (0, 0, 0, 0.4, 0, 0, 0.06)),
    ),
    Link("elbow_flex", Y, (-2.3213, 0.0), 0.1, (0.4, 0.0, 0.0), capsules=((0, -0.02, 0, 0, 0.02, 0, 0.06),)),
    Link(
        "forearm_roll",
        X,
        (-1.5, 1.5),
        0.1,
        (0.0, 0.0, 0.0),
        capsules=((-0.1, 0, 0, 0.1, 0, 0, 0.02), (0, 0, 0, 0.291, 0, 0, 0.05)),
    ),
    Link("wrist_flex", Y, (-1.094, 0.0), 0.1, (0.321, 0.0, 0.0), capsules=((0, -0.02, 0, 0, 0.02, 0, 0.01),)),
    Link(
        "wrist_roll",
        X,
        (-1.5, 1.5),
        0.1,
        (0.0, 0.0, 0.0),
        capsules=(),
        fork=((0, -0.1, 0, 0, 0.1, 0, 0.02), (0, -0.1, 0, 0.1, -0.1, 0, 0.02), (0, 0.1, 0, 0.1, 0.1, 0, 0.02)),
    ),
)
PRONGS = ((0.1, -0.1, 0), (0.1, 0.1, 0))  # m, where the fork's prongs end, seen from the wrist


class State(NamedTuple):
    """The state of a batch of episodes."""

    physics: np.ndarray
    """[E, S] MuJoCo's full physics state."""
    sensors: np.ndarray
    """[E, sensors] read at that state."""


class PusherWorld:
    """The physics of MBRLPusher, for a batch of episodes. Stateless: states are arguments and results."""

    def __init__(self, rules: Rules = PUSHER_AS_RUN, num_threads: int | None = None):
        self.rules = rules
        self.spec = SPEC
        self.physics = Physics(pusher_model(rules), SUBSTEPS, num_threads)
        columns = [state_columns(self.physics.model, link.joint) for link in ARM]
        self._positions, self._velocities = ([one.start for one in kind] for kind in zip(*columns, strict=True))
        self._object = [state_columns(self.physics.model, f"object_{axis}")[0].start for axis in "xy"]
        self._tip_position = self.physics.sensor_columns("tip_position")
        self._object_position = self.physics.sensor_columns("object_position")

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """Start an episode for each generator; return their state and desired goals `[E, G]`."""
        physics = np.zeros((len(rngs), self.physics.state_size))
        physics[:, self._object] = [rng.normal(OBJECT_START, OBJECT_START_STD) for rng in rngs]
        physics[:, self._velocities] = [
            rng.uniform(-MAX_START_VELOCITY, MAX_START_VELOCITY, len(self._velocities)) for rng in rngs
        ]
        goal = np.tile((*GOAL, self.rules.goal_height), (len(rngs), 1))
        return State(physics, self.physics.sense(physics)), goal

    def step(self, state: State, action: np.ndarray) -> State:
        """Return the state after one action `[E, A]` in [-1, 1]: the torques of the seven motors, in N m."""
        physics = self.physics.step(state.physics, action)
        return State(physics, self.physics.sense(physics))

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """Return the observation of a state."""
        physics, sensors = state
        object_ = sensors[:, self._object_position]
        observation = np.concatenate(
            [physics[:, self._positions], physics[:, self._velocities], sensors[:, self._tip_position], object_], axis=1
        )
        return Observation(observation=observation, achieved_goal=object_.copy(), desired_goal=goal.copy())

    def model_of(self, state: State, lane: int) -> mujoco.MjModel:
        """Return the model that shows a lane's episode."""
        return self.physics.model

    def close(self) -> None:
        """End the physics threads."""
        self.physics.close()


def pusher_model(rules: Rules = PUSHER_AS_RUN) -> mujoco.MjModel:
    """Return the model of arm, table, cylinder and goal.

    Differs: the goal has no joints, since nothing moves it.
    """
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = SUBSTEP_SECONDS
    spec.option.iterations = 20
    spec.option.gravity = (0.0, 0.0, 0.0)
    # MuJoCo 3's new routine for contacts of cylinders finds other contact points: the object ends centimetres away.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_NATIVECCD
    find_one_contact(spec.option)
    joint, geom = spec.default.joint, spec.default.geom
    joint.armature = 0.04
    set_damping(joint, 1.0)
    geom.density, geom.friction, geom.margin, geom.condim = 300.0, (0.8, 0.1, 0.1), margin_of_each(0.002), 1
    geom.contype = geom.conaffinity = 0
    world = spec.worldbody
    world.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, pos=(0, 0.5, TABLE_HEIGHT), size=(1, 1, 0.1), contype=1, conaffinity=1
    )
    world.add_light(pos=(0, 0, 3), dir=(0, 0, -1))
    world.add_site(name="target0", type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=(*GOAL, rules.goal_height), size=(0.08, 0.001, 0))
    _add_arm(spec)
    _add_object(spec)
    for name, body in (("tip_position", "robot0:tips"), ("object_position", "object0")):
        spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_FRAMEPOS, objtype=mujoco.mjtObj.mjOBJ_XBODY, objname=body)
    model = spec.compile()
    _let_the_object_be_pushed(model)
    return model


def _let_the_object_be_pushed(model: mujoco.MjModel) -> None:
    """Set the contact softness of the object according to the armature of its slides.

    Since MuJoCo 3 the compiler ignores the armature when it estimates a body's inertia for the softness of contacts. The
    cylinder's own mass is ten nanograms, and the fork would go right through it. Up to 2.3.7 the estimate was the value that is
    set here.
    """
    slides = [int(model.joint(f"object_{axis}").dofadr[0]) for axis in "xy"]
    inverse = 1.0 / model.dof_M0[slides]
    model.dof_invweight0[slides] = inverse
    model.body_invweight0[model.body("object0").id, 0] = inverse.sum() / 3  # the mean over x, y and z; z cannot move


def _add_arm(spec: mujoco.MjSpec) -> None:
    body = spec.worldbody
    for link in ARM:
        body = body.add_body(name=f"robot0:{link.joint}", pos=link.offset)
        body.add_joint(name=link.joint, axis=link.axis, range=link.limits, limited=1, damping=link.damping)
        for *fromto, radius in link.capsules:
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=fromto, size=(radius, 0, 0))
        for *center, radius in link.spheres:
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=center, size=(radius, 0, 0))
        for *fromto, radius in link.fork:
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=fromto, size=(radius, 0, 0), contype=1, conaffinity=1)
        actuator = spec.add_actuator(name=link.joint, target=link.joint, ctrlrange=(-2.0, 2.0), ctrllimited=1)
        actuator.trntype = mujoco.mjtTrn.mjTRN_JOINT
        actuator.set_to_motor()
    # A body of its own, though it cannot move against the wrist: the mass of a body decides how soft its contacts are.
    tips = body.add_body(name="robot0:tips")
    for position in PRONGS:
        tips.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=position, size=(0.01, 0, 0))


def _add_object(spec: mujoco.MjSpec) -> None:
    """Add a cylinder of almost no mass: its inertia in an impact is the slides' armature, 0.04 kg each."""
    body = spec.worldbody.add_body(name="object0", pos=OBJECT_ORIGIN)
    for axis, direction in (("y", Y), ("x", X)):
        body.add_joint(
            name=f"object_{axis}",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=direction,
            range=(-10.3213, 10.3),
            limited=1,
            damping=0.5,
        )
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(0.05, 0.05, 0), density=1e-5, contype=1)
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.05, 0, 0), density=1e-5, rgba=(1, 1, 1, 0))
    # The table would push it upwards, where it cannot move, without friction; these contacts would cost a fifth of a step.
    spec.add_exclude(bodyname1="world", bodyname2="object0")
