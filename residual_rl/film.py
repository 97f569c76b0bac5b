"""Film strips: the base and base plus residual from the same initial state, frame by frame.

Pictures need OpenGL, which may be missing. MuJoCo chooses its backend once, when it is imported; so each backend is tried in a
process of its own, `python -m residual_rl.film DIRECTORY`, until one works.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot see into.

import io
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import mujoco
import numpy as np

from residual_rl.errors import ResidualRLError

NUM_FRAMES = 6
HEIGHT, WIDTH = 288, 384  # pixels of a frame
RENDER_SECONDS = 120.0
LINUX_BACKENDS = ("egl", "osmesa", "glfw")
SWITCHED_OFF = ("0", "false", "off", "disable", "disabled", "none")  # values of MUJOCO_GL
INSTALL = "Pictures need OpenGL: on Debian or Ubuntu, apt-get install libegl1 libgl1-mesa-dri (or libosmesa6)"

CAMERA = {"lookat": (1.295, 0.75, 0.41), "distance": 0.66, "azimuth": 180.0, "elevation": -57.0}  # m and degrees
COLORS = {  # body's name starts with: red, green, blue, opacity; the last match counts
    "": (0.78, 0.80, 0.83, 1.0),
    "robot0:": (0.80, 0.83, 0.88, 0.25),  # the arm is nearly always between the camera and what it pushes
    "robot0:gripper": (0.68, 0.72, 0.78, 0.50),
    "robot0:r_gripper_finger": (0.15, 0.15, 0.17, 1.0),
    "robot0:l_gripper_finger": (0.15, 0.15, 0.17, 1.0),
    "robot0:mocap": (0.0, 0.0, 0.0, 0.0),
    "object0": (0.95, 0.70, 0.15, 1.0),
}
TABLE_COLOR = (0.97, 0.97, 0.95, 1.0)
GOAL = "target0"  # the site that stands for the goal
GOAL_COLOR = (0.0, 0.62, 0.45, 0.75)
GOAL_RADIUS = 0.05  # m, as near as the object has to come
GOAL_DROP = 0.0243  # m from the goal of the block's centre down to the table's surface
TRAIL_COLORS = {"base": (0.84, 0.37, 0.0, 1.0), "base + residual": (0.0, 0.45, 0.70, 1.0)}
TRAIL_RADIUS = 0.004  # m


class Row(NamedTuple):
    """One episode of one of the two."""

    policy: str
    """"base" or "base + residual"."""
    success: bool
    outcome: str
    """What happened, in a few words."""
    frames: np.ndarray
    """[F, H, W, 3] uint8"""


class Strip(NamedTuple):
    """The same initial state twice."""

    kind: str
    """"fixed", "kept" or "broken"."""
    seed: int
    steps: np.ndarray
    """[F] the step that each frame shows."""
    rows: tuple[Row, Row]


class Recording(NamedTuple):
    """What happened in each lane."""

    physics: np.ndarray
    """[T + 1, E, S]"""
    achieved_goal: np.ndarray
    """[T + 1, E, G]"""
    desired_goal: np.ndarray
    """[E, G]"""
    outcome: Any


def film_strips(path: str | Path, num_frames: int = NUM_FRAMES) -> tuple[list[Strip], str]:
    """Strips of a finished run, and why there are none where there are none.

    One strip for each thing that happened in the verdict's episodes: a failure that was fixed, a success that was kept, one
    that was broken. It shows the first such episode, passing over those that begin at their goal.
    """
    try:
        model, found = _episodes(Path(path))
    except ResidualRLError as error:
        return [], str(error)
    if not found:
        return [], "neither of the two solves any of the verdict's episodes"
    horizon = len(next(iter(found.values()))[1][0].physics) - 1
    steps = np.linspace(0, horizon, num_frames).round().astype(int)
    sides = [side for _, pair in found.values() for side in zip(TRAIL_COLORS, pair, strict=True)]
    shots = [(name, recording, step) for name, recording in sides for step in steps]
    frames, reason = render(
        model,
        physics=np.stack([recording.physics[step, 0] for _, recording, step in shots]),
        goal=np.stack([recording.desired_goal[0] for _, recording, _ in shots]),
        trail=np.stack([_trail(recording, step) for _, recording, step in shots]),
        color=np.array([TRAIL_COLORS[name] for name, _, _ in shots]),
    )
    if frames is None:
        return [], reason
    frames = frames.reshape(len(found), 2, num_frames, *frames.shape[1:])
    return [
        Strip(kind, seed, steps, tuple(_row(*one) for one in zip(TRAIL_COLORS, pair, both, strict=True)))  # type: ignore
        for (kind, (seed, pair)), both in zip(found.items(), frames, strict=True)
    ], ""


def _episodes(path: Path) -> tuple[mujoco.MjModel, dict[str, tuple[int, list[Recording]]]]:
    """The model, and for each kind the seed and the two recordings of the first episode."""
    from residual_rl.controllers import CONTROLLERS, make_controller, reads_state
    from residual_rl.evaluation import base_alone, evaluation_envs
    from residual_rl.policy import base_plus_residual, restore_residual
    from residual_rl.run import read_policy, read_verdict
    from residual_rl.seeds import Purpose, evaluation_seeds
    from residual_rl.tasks import find_task

    arrays, config, _ = read_policy(path)
    verdict = read_verdict(path)
    if config.controller not in CONTROLLERS:
        raise ResidualRLError(
            f"the controller {config.controller!r} was passed in as a callable and is not part of the run directory"
        )
    task = find_task(config.task)
    controller = make_controller(config.controller, task.spec)
    composition, size = config.algorithm.composition, task.spec.action_size
    residual = restore_residual(config.algorithm, task.spec, arrays, str(path / "policy.safetensors"))
    policies = (base_alone(controller, composition, size), base_plus_residual(controller, composition, residual, size))

    envs = evaluation_envs(task, verdict.episodes, None, reads_state(controller))
    try:
        model = _drawable(envs.world)
        if model is None:
            raise ResidualRLError(f"{task.name!r} has no MuJoCo model with a site {GOAL!r} for its goal")
        kept = round(verdict.base.success_rate * verdict.episodes) - verdict.broken
        wanted = [kind for kind, count in (("fixed", verdict.fixed), ("kept", kept), ("broken", verdict.broken)) if count]
        found: dict[str, tuple[int, list[Recording]]] = {}
        seeds = evaluation_seeds(Purpose.VERDICT, verdict.episodes)
        for start in range(0, len(seeds), envs.num_envs):
            chunk = seeds[start : start + envs.num_envs]
            base, policy = (_record(envs, act, chunk) for act in policies)
            lanes = _first_of_each(base.outcome, policy.outcome)
            for kind in wanted:
                if kind in lanes and kind not in found:
                    found[kind] = chunk[lanes[kind]], [_lane(one, lanes[kind]) for one in (base, policy)]
            if len(found) == len(wanted):
                break
        return model, {kind: found[kind] for kind in wanted if kind in found}
    finally:
        envs.close()


def _drawable(world: Any) -> mujoco.MjModel | None:
    """The model of a world that can be drawn."""
    model = world.arm.physics.model if hasattr(world, "arm") else None
    if model is None or mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, GOAL) < 0:
        return None
    return model


def _record(envs: Any, act: Any, seeds: Sequence[int]) -> Recording:
    """One episode from each seed, all at once."""
    from residual_rl.evaluation import roll_out

    physics, achieved, observation = [], [], None

    def watched(now: Any) -> Any:
        nonlocal observation
        observation = now
        physics.append(envs.state.physics)
        achieved.append(now["achieved_goal"])
        return act(now)

    outcome = roll_out(envs, watched, seeds)
    goal = observation["desired_goal"]  # type: ignore[index]
    physics.append(envs.state.physics)
    achieved.append(envs.world.observe(envs.state, goal)["achieved_goal"])
    return Recording(np.stack(physics), np.stack(achieved), goal, outcome)


def _lane(recording: Recording, lane: int) -> Recording:
    lanes = slice(lane, lane + 1)
    return Recording(
        recording.physics[:, lanes],
        recording.achieved_goal[:, lanes],
        recording.desired_goal[lanes],
        type(recording.outcome)(*(values[lanes] for values in recording.outcome)),
    )


def _first_of_each(base: Any, policy: Any) -> dict[str, int]:
    """The first lane of each kind."""
    to_do = ~(base.steps_to_success <= 1)
    kinds = {
        "fixed": ~base.success & policy.success,
        "kept": base.success & policy.success,
        "broken": base.success & ~policy.success,
    }
    return {kind: int(np.argmax(lanes & to_do)) for kind, lanes in kinds.items() if (lanes & to_do).any()}


def _row(policy: str, recording: Recording, frames: np.ndarray) -> Row:
    success, reached = bool(recording.outcome.success[0]), float(recording.outcome.steps_to_success[0])
    centimetres = 100 * np.linalg.norm(recording.achieved_goal[-1, 0] - recording.desired_goal[0])
    if success:
        outcome = f"solved, first at the goal at step {reached:.0f}"
    elif np.isnan(reached):
        outcome = f"failed, ends {centimetres:.0f} cm from the goal"
    else:
        outcome = f"failed, passes the goal at step {reached:.0f} and ends {centimetres:.0f} cm away"
    return Row(policy, success, outcome, frames)


def _trail(recording: Recording, step: int) -> np.ndarray:
    """Where the object has been until `step`: `[T + 1, 3]`, NaN for what is still to come."""
    trail = recording.achieved_goal[:, 0].copy()
    trail[step + 1 :] = np.nan
    return trail


def render(model: mujoco.MjModel, **shots: np.ndarray) -> tuple[np.ndarray | None, str]:
    """A picture `[M, H, W, 3]` of each shot, or None and what to install.

    Args:
        model: the world.
        **shots: `physics [M, S]`, `goal [M, 3]`, `trail [M, T, 3]` and the trail's `color [M, 4]`.
    """
    backends, failures = _backends(), []
    if not backends:
        return None, f"MUJOCO_GL={os.environ['MUJOCO_GL']} switches pictures off"
    with TemporaryDirectory() as name:
        directory = Path(name)
        mujoco.mj_saveModel(model, str(directory / "model.mjb"), None)
        np.savez(directory / "shots.npz", **shots)  # type: ignore[arg-type]
        for backend in backends:
            try:
                child = subprocess.run(
                    [sys.executable, "-m", "residual_rl.film", name],
                    env=os.environ | ({"MUJOCO_GL": backend} if backend else {}),
                    capture_output=True,
                    text=True,
                    timeout=RENDER_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                failures.append(f"{backend}: no picture within {RENDER_SECONDS:.0f} s")
                continue
            if child.returncode == 0:
                return np.load(directory / "frames.npy", allow_pickle=False), ""
            lines = child.stderr.strip().splitlines() or [f"exit status {child.returncode}"]
            failures.append(f"{backend or 'OpenGL'}: {lines[-1]}")
    return None, f"{INSTALL}. Tried {'; '.join(failures)}"


def _backends() -> list[str]:
    """OpenGL backends in the order in which they are tried; the one that was asked for comes first."""
    asked = os.environ.get("MUJOCO_GL", "").lower()
    if asked in SWITCHED_OFF:
        return []
    known = LINUX_BACKENDS if sys.platform == "linux" else ("",)
    return list(dict.fromkeys([asked, *known] if asked else known))


def _draw(directory: Path) -> None:
    """Runs in a process of its own: draws the shots in `directory`."""
    model = mujoco.MjModel.from_binary_path(str(directory / "model.mjb"))
    _dress(model)
    data = mujoco.MjData(model)
    camera = mujoco.MjvCamera()
    for name, value in CAMERA.items():
        setattr(camera, name, value)
    frames = []
    with np.load(directory / "shots.npz", allow_pickle=False) as shots, mujoco.Renderer(model, HEIGHT, WIDTH) as renderer:
        for physics, goal, trail, color in zip(*(shots[name] for name in ("physics", "goal", "trail", "color")), strict=True):
            site = model.site(GOAL)
            site.pos[:] = goal - model.body_pos[site.bodyid[0]] - (0.0, 0.0, GOAL_DROP)
            mujoco.mj_setState(model, data, physics, mujoco.mjtState.mjSTATE_FULLPHYSICS)
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            _add_trail(renderer.scene, trail[np.isfinite(trail).all(axis=1)], color)
            frames.append(renderer.render())
    np.save(directory / "frames.npy", np.stack(frames))


def _dress(model: mujoco.MjModel) -> None:
    """Makes the model look like a drawing of what matters: object, goal, fingers."""
    for geom in range(model.ngeom):
        body = model.body(model.geom_bodyid[geom]).name
        color = [color for start, color in COLORS.items() if body.startswith(start)][-1]
        fixed_box = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX and not body.startswith(("robot0:", "object"))
        model.geom_rgba[geom] = TABLE_COLOR if fixed_box else color
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE:
            model.geom_size[geom, :2] = 0.0  # endless: the sky would only distract
    model.geom_matid[:] = -1
    model.site_rgba[:, 3] = 0.0
    goal = model.site(GOAL)
    goal.type[0] = mujoco.mjtGeom.mjGEOM_CYLINDER
    goal.size[:2] = GOAL_RADIUS, 0.0005
    goal.rgba[:] = GOAL_COLOR
    model.light_castshadow[:] = True
    model.light_diffuse[:] = 0.22
    model.light_ambient[:] = 0.0
    model.light_specular[:] = 0.0
    model.light_pos[:] = (1.6, 0.4, 3.0)
    model.light_dir[:] = (-0.12, 0.14, -1.0)
    model.vis.headlight.ambient[:] = 0.62
    model.vis.headlight.diffuse[:] = 0.15
    model.vis.headlight.specular[:] = 0.0
    model.vis.quality.offsamples = 8
    model.vis.quality.shadowsize = 4096


def _add_trail(scene: mujoco.MjvScene, points: np.ndarray, color: np.ndarray) -> None:
    """A line through `points` `[T, 3]`, `T >= 1`."""
    capsule = mujoco.mjtGeom.mjGEOM_CAPSULE
    for start, end in itertools.pairwise(points):
        if scene.ngeom == scene.maxgeom:
            return
        geom = scene.geoms[scene.ngeom]
        mujoco.mjv_initGeom(geom, capsule, np.zeros(3), np.zeros(3), np.zeros(9), color.astype(np.float32))
        mujoco.mjv_connector(geom, capsule, TRAIL_RADIUS, start, end)
        scene.ngeom += 1


def png(image: np.ndarray) -> bytes:
    """A picture `[H, W, 3]` as PNG."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ResidualRLError("pictures need Pillow: pip install 'residual-rl[report]'") from None
    buffer = io.BytesIO()
    Image.fromarray(image).quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    _draw(Path(sys.argv[1]))
