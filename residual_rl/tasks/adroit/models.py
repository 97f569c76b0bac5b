"""The models of the Adroit tasks, composed from the installed gymnasium-robotics.

The package's code is not needed: it is located, not imported, and its environments do not run on MuJoCo 4.0.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import mujoco

from residual_rl.optional import WORLDS, missing
from residual_rl.tasks.camera import without_effects

PLACED = {"door": "frame", "hammer": "nail_board", "pen": "target", "relocate": "destination"}
"""The body that a task places anew in every episode. It stands still: as a mocap body it needs no model of its own for each."""
TRACKED = {
    "door": ("S_grasp", "S_handle"),
    "hammer": ("S_grasp", "S_target", "tool", "nail_goal"),
    "pen": ("object_top", "object_bottom", "target_top", "target_bottom", "eps_ball", "S_grasp"),
    "relocate": ("S_grasp", "target"),
}
"""Sites whose position the observation or the reward needs."""
WRIST = "A_WRJ"
ARM = "A_AR"


def adroit_spec(task: str) -> mujoco.MjSpec:
    """Return the scene of `door`, `hammer`, `pen` or `relocate`, with everything that is drawn.

    Raises:
        ResidualRLError: gymnasium-robotics is not installed.
    """
    package = find_spec("gymnasium_robotics")
    if package is None or package.origin is None:
        raise missing("gymnasium_robotics", *WORLDS)
    folder = Path(package.origin).parent / "envs" / "assets" / "adroit_hand"
    spec = mujoco.MjSpec.from_file(str(folder / f"adroit_{task}.xml"))
    spec.delete(spec.body("vive_tracker"))
    if task == "relocate":
        _let_the_target_be_placed(spec)
    spec.body(PLACED[task]).mocap = True
    _set_gains(spec)
    _set_sensors(spec, task)
    return spec


@cache
def adroit_model(task: str) -> mujoco.MjModel:
    """Return the model for the physics, which is cached and shared: copy it before a change."""
    spec = adroit_spec(task)
    for geom in list(spec.geoms):
        if not (geom.contype or geom.conaffinity) and geom.type == mujoco.mjtGeom.mjGEOM_MESH:
            spec.delete(geom)
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    for material in spec.materials:
        material.textures = [""] * len(material.textures)
    for texture in list(spec.textures):
        spec.delete(texture)
    return spec.compile()


@cache
def adroit_picture_model(task: str, size: int) -> mujoco.MjModel:
    """Return the model for small pictures, with the same joints and placed body as `adroit_model`."""
    return without_effects(adroit_spec(task), size)


def _let_the_target_be_placed(spec: mujoco.MjSpec) -> None:
    """Put the target of `relocate`, a site of the scene, on a body of its own; it is drawn as a geom that touches nothing."""
    marker = spec.site("target")
    body = spec.worldbody.add_body(name=PLACED["relocate"], pos=marker.pos)
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=marker.size, rgba=marker.rgba, contype=0, conaffinity=0, mass=0.0)
    spec.delete(marker)
    body.add_site(name="target", rgba=(0.0, 0.0, 0.0, 0.0))


def _set_gains(spec: mujoco.MjSpec) -> None:
    """Set the motors' gains to those of the published tasks, which override the scene's.

    Source: the code of Rajeswaran et al. 2018.
    """
    for actuator in spec.actuators:
        if actuator.name.startswith(ARM):
            continue
        gain = 10.0 if actuator.name.startswith(WRIST) else 1.0
        actuator.gainprm[:3] = (gain, 0.0, 0.0)
        actuator.biasprm[:3] = (0.0, -gain, 0.0)


def _set_sensors(spec: mujoco.MjSpec, task: str) -> None:
    """Add sensors for what is tracked, and drop those of joint positions, which repeat the state."""
    for sensor in list(spec.sensors):
        if sensor.type == mujoco.mjtSensor.mjSENS_JOINTPOS:
            spec.delete(sensor)
    tracked = [(site, "SITE", "FRAMEPOS", site) for site in TRACKED[task]]
    if task in ("hammer", "pen", "relocate"):
        tracked.append(("Object", "XBODY", "FRAMEPOS", "Object"))
    if task == "hammer":
        tracked.append(("Object_quaternion", "XBODY", "FRAMEQUAT", "Object"))
    for name, objtype, kind, objname in tracked:
        spec.add_sensor(
            name=name,
            type=getattr(mujoco.mjtSensor, f"mjSENS_{kind}"),
            objtype=getattr(mujoco.mjtObj, f"mjOBJ_{objtype}"),
            objname=objname,
        )
