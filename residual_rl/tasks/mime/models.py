"""The scene of the Mime tasks, from primitives: a UR5, a three-finger gripper, a table, walls, and the task's objects.

The published scenes use meshes. Here, links and phalanges are capsules of the published lengths, and the bowl is a ring of
boxes. Each finger has two phalanges instead of three; the second turns against the first, so that it stays upright.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from functools import cache, lru_cache

import mujoco
import numpy as np

from residual_rl.tasks.camera import without_effects
from residual_rl.tasks.mime.arm import LENGTHS, OFFSETS, TOOL, TWISTS
from residual_rl.tasks.versions import set_damping

Geom = mujoco.mjtGeom
TIME_STEP = 1 / 240
"""s"""
FINGERS = (("thumb", 1.0, 0.0), ("finger1", -1.0, 0.022), ("finger2", -1.0, -0.022))
"""Name, side along y, and place along x in m."""
PALM_ABOVE = 0.118
"""m from the tool's point to the joints of the fingers."""
FINGER_APART = 0.05
"""m from the palm's middle to the joints of the fingers."""
OPENED = 0.35
"""rad, how far a finger leans outwards when the gripper is open."""
CLOSED = 1.04907
"""rad, how far it turns from there until the gripper is closed."""
PHALANX = 0.07
TIP = 0.06
"""m, lengths of the first and the second phalanx."""
FINGER_RADIUS = 0.01
BOWL_BOXES = 12
BOWL_WALL = 0.003
"""m, half of its thickness."""
WALLS = {"wall_back": (1.0, 0.0), "wall_left": (0.0, -1.0), "wall_right": (0.0, 1.0), "wall_front": (-1.0, 0.0)}
"""Name, and the direction in the plane that it faces. A wall is seen from that side, and touches nothing."""
WALL_GROUP = 3
"""Pictures for people leave it out."""
ARM_KP, ARM_KV = 3000.0, 250.0
FRICTION = (0.5, 0.005, 0.0001)
MASSES = {"pick": 0.1, "bowl": 0.2, "place-push": 0.1}
"""kg, of the cube."""
FAR_AWAY = (0.0, 0.0, -5.0)
PLACE_HALF = 0.05
"""m, half of the edge of the region to which the cube is pushed."""
PLACE = (0.5, 0.0)
"""m, its middle."""


def mime_spec(task: str, edge: float = 0.05, bowl: float = 0.08) -> mujoco.MjSpec:
    """Return the scene of `pick`, `bowl` or `place-push`, with a cube of an edge and a bowl of a radius in m."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = TIME_STEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.gravity = (0.0, 0.0, -9.8)
    spec.visual.map.znear, spec.visual.map.zfar = 0.1, 4.0
    spec.stat.extent = 1.0
    world = spec.worldbody
    world.add_light(pos=(0.6, 0.0, 2.0), dir=(0.0, 0.0, -1.0), diffuse=(0.6, 0.6, 0.6))
    world.add_geom(name="table", type=Geom.mjGEOM_PLANE, size=(2.0, 2.0, 0.1), rgba=(0.55, 0.5, 0.45, 1.0), friction=FRICTION)
    for name in WALLS:
        wall = world.add_body(name=name, mocap=True)
        wall.add_geom(
            group=WALL_GROUP,
            name=name,
            type=Geom.mjGEOM_PLANE,
            size=(0.55, 0.55, 0.1),
            rgba=(0.9, 0.9, 0.9, 1.0),
            contype=0,
            conaffinity=0,
        )
    _add_arm(spec)
    _add_cube(spec, edge, MASSES[task])
    if task == "bowl":
        _add_bowl(spec, bowl)
    if task == "place-push":
        world.add_geom(
            name="place",
            type=Geom.mjGEOM_BOX,
            pos=(*PLACE, 0.0005),
            size=(PLACE_HALF, PLACE_HALF, 0.0005),
            rgba=(0.2, 0.7, 0.3, 1.0),
            contype=0,
            conaffinity=0,
        )
    return spec


@lru_cache(maxsize=1024)
def mime_model(task: str, edge: float = 0.05, bowl: float = 0.08) -> mujoco.MjModel:
    """Return the model for the physics, which is cached and shared: copy it before a change."""
    model = _welded(mime_spec(task, edge, bowl).compile())
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
    return model


@cache
def mime_picture_model(task: str, size: int) -> mujoco.MjModel:
    """Return the model for pictures, with the same joints."""
    return _welded(without_effects(mime_spec(task), size))


def with_objects(model: mujoco.MjModel, edge: float, bowl: float) -> mujoco.MjModel:
    """Write the cube's edge and the bowl's radius, in m, into a model for pictures; return it. Its contacts do not follow."""
    model.geom("cube").size[:] = edge / 2
    if bowl:
        for number in range(BOWL_BOXES):
            pos, size, _ = _bowl_box(number, bowl)
            geom = model.geom(f"bowl{number}")
            geom.pos[:], geom.size[:] = pos, size
        model.geom("bowl_floor").size[:2] = bowl * 0.8, BOWL_WALL
        model.geom("bowl_floor").pos[2] = BOWL_WALL - bowl_height(bowl) / 2
    return model


def bowl_height(radius: float) -> float:
    """Return the height in m of a bowl. Source: the proportions of the published one."""
    return radius * 0.3232 / 0.3346


def _welded(model: mujoco.MjModel) -> mujoco.MjModel:
    model.eq_data[:, :7] = (0, 0, 0, 0, 0, 0, 1)
    model.eq_active0[:] = 0
    return model


def _add_arm(spec: mujoco.MjSpec) -> None:
    link = spec.worldbody.add_body(name="arm_base", quat=(0.0, 0.0, 0.0, 1.0))
    spec.worldbody.add_geom(**_capsule((0, 0, 0), (0, 0, OFFSETS[0]), 0.06, "arm_foot"))
    pos, quat = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)
    for number in range(6):
        link = link.add_body(name=f"link{number}", pos=pos, quat=quat, gravcomp=1.0)
        joint = link.add_joint(name=f"arm{number}", axis=(0.0, 0.0, 1.0), armature=0.5)
        set_damping(joint, 20.0)
        end = (LENGTHS[number], 0.0, OFFSETS[number])
        mass = (2.0, 3.0, 2.0, 0.8, 0.8, 0.2)[number]
        link.mass, link.explicitinertial = mass, True
        link.ipos, link.inertia = np.array(end) / 2, (0.01 * mass,) * 3
        start = (0.0, 0.0, 0.12) if number == 1 else (0.0, 0.0, 0.0)
        finish = (end[0], 0.0, 0.12) if number == 1 else end
        link.add_geom(**_capsule(start, finish, (0.055, 0.05, 0.042, 0.038, 0.038, 0.035)[number], f"link{number}"))
        actuator = spec.add_actuator(name=f"arm{number}", target=f"arm{number}", trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.gainprm[0], actuator.biastype = ARM_KP, mujoco.mjtBias.mjBIAS_AFFINE
        actuator.biasprm[:3] = 0.0, -ARM_KP, -ARM_KV
        pos, quat = end, (np.cos(TWISTS[number] / 2), np.sin(TWISTS[number] / 2), 0.0, 0.0)
    hand = link.add_body(name="hand", pos=(0.0, 0.0, OFFSETS[5]), gravcomp=1.0)
    hand.mass, hand.explicitinertial, hand.inertia = 0.5, True, (0.002, 0.002, 0.002)
    hand.add_geom(**_capsule((0, 0, 0), (0, 0, TOOL - PALM_ABOVE - 0.04), 0.036, "wrist"))
    hand.add_geom(
        name="palm",
        type=Geom.mjGEOM_BOX,
        pos=(0, 0, TOOL - PALM_ABOVE - 0.02),
        size=(0.062, 0.045, 0.025),
        rgba=DARK,
        friction=FRICTION,
    )
    hand.add_site(name="tool", pos=(0.0, 0.0, TOOL), rgba=(0.0, 0.0, 0.0, 0.0))
    for name, side, along in FINGERS:
        _add_finger(spec, hand, name, side, along)
    for number, (name, _, _) in enumerate(FINGERS):
        for other, _, _ in FINGERS[:number]:
            spec.add_exclude(bodyname1=f"{name}_tip", bodyname2=f"{other}_tip")


ORANGE, DARK, LIGHT = (0.95, 0.6, 0.1, 1.0), (0.2, 0.2, 0.22, 1.0), (0.7, 0.75, 0.8, 1.0)


def _add_finger(spec: mujoco.MjSpec, hand: mujoco.MjsBody, name: str, side: float, along: float) -> None:
    """Add a finger. In the hand's frame z points down, and the fingers close along x."""
    first = hand.add_body(name=f"{name}_first", pos=(side * FINGER_APART, along, TOOL - PALM_ABOVE), gravcomp=1.0)
    joint = first.add_joint(name=f"{name}_first", axis=(0.0, side, 0.0), armature=0.002, range=(-0.8, 0.5), limited=True)
    set_damping(joint, 0.05)
    first.mass, first.explicitinertial, first.inertia, first.ipos = 0.05, True, (3e-5,) * 3, (0.0, 0.0, PHALANX / 2)
    first.add_geom(**_capsule((0, 0, 0), (0, 0, PHALANX), FINGER_RADIUS, f"{name}_first", DARK, touches=True))
    tip = first.add_body(name=f"{name}_tip", pos=(0.0, 0.0, PHALANX), gravcomp=1.0)
    joint = tip.add_joint(name=f"{name}_tip", axis=(0.0, side, 0.0), armature=0.002)
    set_damping(joint, 0.05)
    tip.mass, tip.explicitinertial, tip.inertia, tip.ipos = 0.03, True, (2e-5,) * 3, (0.0, 0.0, TIP / 2)
    tip.add_geom(**_capsule((0, 0, 0), (0, 0, TIP - FINGER_RADIUS), FINGER_RADIUS, f"{name}_tip", DARK, touches=True))
    for part, kp, limit in (("first", 3.0, 0.3), ("tip", 3.0, 0.6)):
        actuator = spec.add_actuator(name=f"{name}_{part}", target=f"{name}_{part}", trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.gainprm[0], actuator.biastype = kp, mujoco.mjtBias.mjBIAS_AFFINE
        actuator.biasprm[:3] = 0.0, -kp, -0.1
        actuator.forcelimited, actuator.forcerange = True, (-limit, limit)


def _add_cube(spec: mujoco.MjSpec, edge: float, mass: float) -> None:
    cube = spec.worldbody.add_body(name="cube")
    cube.add_freejoint(name="cube")
    cube.mass, cube.explicitinertial, cube.inertia = mass, True, (mass * edge**2 / 6,) * 3
    cube.add_geom(name="cube", type=Geom.mjGEOM_BOX, size=(edge / 2,) * 3, rgba=ORANGE, condim=4, friction=FRICTION)
    spec.worldbody.add_body(name="grip", mocap=True)
    weld = spec.add_equality(type=mujoco.mjtEq.mjEQ_WELD, objtype=mujoco.mjtObj.mjOBJ_BODY, name1="grip", name2="cube")
    weld.solref = (0.01, 1.0)


def _bowl_box(number: int, radius: float) -> tuple[tuple[float, float, float], tuple[float, float, float], float]:
    """Return place, half size and angle of one box of a bowl's wall."""
    angle = 2 * np.pi * number / BOWL_BOXES
    middle = 0.9 * radius
    half_width = middle * np.tan(np.pi / BOWL_BOXES) + BOWL_WALL
    return (middle * np.cos(angle), middle * np.sin(angle), 0.0), (BOWL_WALL, half_width, bowl_height(radius) / 2), angle


def _add_bowl(spec: mujoco.MjSpec, radius: float) -> None:
    bowl = spec.worldbody.add_body(name="bowl")
    bowl.add_freejoint(name="bowl")
    bowl.mass, bowl.explicitinertial, bowl.inertia = 0.0514, True, (1e-4,) * 3
    for number in range(BOWL_BOXES):
        pos, size, angle = _bowl_box(number, radius)
        quat = (np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2))
        bowl.add_geom(name=f"bowl{number}", type=Geom.mjGEOM_BOX, pos=pos, size=size, quat=quat, rgba=LIGHT, friction=FRICTION)
    floor = BOWL_WALL - bowl_height(radius) / 2
    bowl.add_geom(
        name="bowl_floor",
        type=Geom.mjGEOM_CYLINDER,
        pos=(0, 0, floor),
        size=(radius * 0.8, BOWL_WALL, 0),
        rgba=LIGHT,
        friction=FRICTION,
    )


def _capsule(start, finish, radius, name, color=LIGHT, touches=False):
    contacts = {} if touches else {"contype": 0, "conaffinity": 0}
    return {
        "name": name,
        "type": Geom.mjGEOM_CAPSULE,
        "fromto": (*map(float, start), *map(float, finish)),
        "size": (radius, 0.0, 0.0),
        "rgba": color,
        "friction": FRICTION,
        **contacts,
    }
