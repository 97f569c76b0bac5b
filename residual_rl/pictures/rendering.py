"""Render recorded physics with any OpenGL backend of the machine.

MuJoCo chooses its OpenGL backend once, at import. So each backend is tried in its own process,
`python -m residual_rl.pictures.rendering DIRECTORY`, until one works. The process writes its frames to a pipe.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot see into.

import copy
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import mujoco
import numpy as np

from residual_rl.errors import ResidualRLError
from residual_rl.tasks.view import Color, View

FIRST_FRAME_SECONDS = 120.0  # a backend without a frame after this time is given up
LINUX_BACKENDS = ("egl", "osmesa", "glfw")
SWITCHED_OFF = ("0", "false", "off", "disable", "disabled", "none")  # values of MUJOCO_GL
INSTALL = "Pictures need OpenGL: on Debian or Ubuntu, apt-get install libegl1 libgl1-mesa-dri (or libosmesa6)"

GOAL_COLOR = (0.0, 0.62, 0.45, 0.75)
BALL_OPACITY = 0.4
DISC_HEIGHT = 0.001  # m
THREAD_RADIUS = 0.0015  # m
TRAIL_RADIUS = 0.004  # m
LIGHT = (0.3, -0.35, 2.6)  # m, relative to the center of the picture


class Take(NamedTuple):
    """One episode to render."""

    model: mujoco.MjModel
    physics: np.ndarray
    """[T + 1, S] MuJoCo's full physics state. A state that is not finite is drawn as the last finite one."""
    goal: np.ndarray
    """[G] m"""
    path: np.ndarray
    """[T + 1, G] m, the object's positions."""
    color: Color
    """Color of the path."""

    @property
    def step_seconds(self) -> float:
        """Duration of a step in s; the first entry of a physics state is its time."""
        return float(np.nanmedian(np.diff(self.physics[:, 0])))


class _NoPicture(Exception):
    """A backend failed; the message is the last line that it printed."""


def render(view: View, takes: Sequence[Take], steps: Sequence[int], height: int, width: int) -> Generator[np.ndarray]:
    """Yield a picture `[H, W, 3]` uint8 of each of the `steps` of each take, in this order.

    Raises:
        ResidualRLError: no backend works; the message says what to install.
    """
    backends, failures = _backends(), []
    if not backends:
        raise ResidualRLError(f"MUJOCO_GL={os.environ['MUJOCO_GL']} switches pictures off")
    with TemporaryDirectory() as name:
        _write_shots(Path(name), view, takes, steps, height, width)
        for backend in backends:
            frames = _frames(Path(name), backend, len(takes) * len(steps), (height, width, 3))
            try:
                first = next(frames)
            except _NoPicture as error:
                failures.append(f"{backend or 'OpenGL'}: {error}")
                continue
            yield first
            try:
                yield from frames
            except _NoPicture as error:
                raise ResidualRLError(f"drawing with {backend or 'OpenGL'} ended early: {error}") from None
            return
    raise ResidualRLError(f"{INSTALL}. Tried {'; '.join(failures)}")


def _backends() -> list[str]:
    """Return the OpenGL backends in the order in which they are tried; the one in MUJOCO_GL is first."""
    asked = os.environ.get("MUJOCO_GL", "").lower()
    if asked in SWITCHED_OFF:
        return []
    known = LINUX_BACKENDS if sys.platform == "linux" else ("",)
    return list(dict.fromkeys([asked, *known] if asked else known))


def _write_shots(directory: Path, view: View, takes: Sequence[Take], steps: Sequence[int], height: int, width: int) -> None:
    models = {id(take.model): take.model for take in takes}
    for number, model in enumerate(models.values()):
        mujoco.mj_saveModel(model, str(directory / f"{number}.mjb"), None)
    shots = {
        "view": asdict(view),
        "models": [list(models).index(id(take.model)) for take in takes],
        "colors": [take.color for take in takes],
        "steps": [int(step) for step in steps],
        "size": [height, width],
    }
    (directory / "shots.json").write_text(json.dumps(shots))
    names = "physics", "goal", "path"
    arrays: dict[str, Any] = {f"{name}{row}": getattr(take, name) for row, take in enumerate(takes) for name in names}
    np.savez(directory / "takes.npz", **arrays)


def _frames(directory: Path, backend: str, count: int, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Yield the frames that a process with this backend draws.

    Raises:
        _NoPicture: the process ended before all frames were drawn, or drew none in time.
    """
    with (
        open(directory / "errors.txt", "w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "residual_rl.pictures.rendering", str(directory)],
            env=os.environ | ({"MUJOCO_GL": backend} if backend else {}),
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as child,
    ):
        assert child.stdout is not None
        timed_out = threading.Event()
        timer = threading.Timer(FIRST_FRAME_SECONDS, lambda: (timed_out.set(), child.kill()))
        timer.start()
        try:
            for _ in range(count):
                frame = child.stdout.read(int(np.prod(shape)))
                if len(frame) < np.prod(shape):
                    child.wait()
                    if timed_out.is_set():
                        raise _NoPicture(f"no picture within {FIRST_FRAME_SECONDS:g} s")
                    errors.seek(0)
                    lines = errors.read().strip().splitlines()
                    raise _NoPicture(lines[-1] if lines else f"exit status {child.returncode}")
                timer.cancel()
                yield np.frombuffer(frame, np.uint8).reshape(shape)
        finally:
            timer.cancel()
            child.kill()


def _draw(directory: Path) -> None:
    """Draw the shots in `directory`; the main function of the rendering process."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not mix with the frames
    shots = json.loads((directory / "shots.json").read_text())
    view, (height, width) = View(**shots["view"]), shots["size"]
    models = [mujoco.MjModel.from_binary_path(str(directory / f"{n}.mjb")) for n in range(max(shots["models"]) + 1)]
    with np.load(directory / "takes.npz", allow_pickle=False) as arrays:
        takes = [
            Take(models[model], arrays[f"physics{row}"], arrays[f"goal{row}"], arrays[f"path{row}"], color)
            for row, (model, color) in enumerate(zip(shots["models"], shots["colors"], strict=True))
        ]
    for _, group in itertools.groupby(takes, key=lambda take: id(take.model)):
        of_one_model = list(group)
        model = with_view_style(of_one_model[0].model, view)
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        data, lens = mujoco.MjData(model), mujoco.MjvCamera()
        aim(lens, view)
        with mujoco.Renderer(model, height, width) as renderer:
            renderer.update_scene(data, lens)  # an infinite plane is placed at the camera's last position
            for take, step in ((take, step) for take in of_one_model for step in shots["steps"]):
                pose(model, data, take, step)
                renderer.update_scene(data, lens)
                add_goal_and_trail(renderer.scene, view, take, step)
                out.write(renderer.render().tobytes())
    out.close()


def aim(lens: mujoco.MjvCamera, at: View | mujoco.MjvCamera) -> None:
    """Move a camera to a view, or to another camera."""
    lens.lookat[:] = at.lookat
    lens.distance, lens.azimuth, lens.elevation = at.distance, at.azimuth, at.elevation


def with_view_style(model: mujoco.MjModel, view: View) -> mujoco.MjModel:
    """Return a copy of the model with the colors and lights of a view."""
    model = copy.copy(model)
    for geom in range(model.ngeom):
        names = model.body(model.geom_bodyid[geom]).name, model.geom(geom).name
        colors = [color for start, color in view.colors.items() if any(name.startswith(start) for name in names)]
        if colors and model.geom_rgba[geom, 3] > 0:  # hidden geoms stay hidden
            model.geom_rgba[geom] = colors[-1]
            model.geom_matid[geom] = -1
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE:
            model.geom_size[geom, :2] = 0.0  # infinite, so that no sky is visible
    model.site_rgba[:, 3] = 0.0
    # A directional light. The field's name depends on the version of MuJoCo, its value does not.
    getattr(model, "light_type" if hasattr(model, "light_type") else "light_directional")[:] = 1
    model.light_castshadow[:] = True
    model.light_diffuse[:] = 0.22
    model.light_ambient[:] = 0.0
    model.light_specular[:] = 0.0
    model.light_pos[:] = np.add(view.lookat, LIGHT)
    model.light_dir[:] = np.negative(LIGHT) / LIGHT[2]
    model.vis.headlight.ambient[:] = 0.62
    model.vis.headlight.diffuse[:] = 0.15
    model.vis.headlight.specular[:] = 0.0
    model.vis.map.shadowclip = 2.0
    model.vis.quality.offsamples = 8
    model.vis.quality.shadowsize = 4096
    return model


def pose(model: mujoco.MjModel, data: mujoco.MjData, take: Take, step: int) -> None:
    """Set the state of one step."""
    sound = np.flatnonzero(np.isfinite(take.physics[: step + 1]).all(axis=1))
    mujoco.mj_setState(model, data, take.physics[sound[-1] if len(sound) else 0], mujoco.mjtState.mjSTATE_FULLPHYSICS)
    mujoco.mj_forward(model, data)


def add_goal_and_trail(scene: mujoco.MjvScene, view: View, take: Take, step: int) -> None:
    """Add the goal and the object's path until `step`, which are not part of the model."""
    if view.goal and len(take.goal) == 3:
        disc, sphere = mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_SPHERE
        below = np.array([*take.goal[:2], view.surface + DISC_HEIGHT / 2])
        if view.goal == "disc":
            _add(scene, disc, (view.goal_radius, DISC_HEIGHT / 2, 0.0), below, GOAL_COLOR)
        else:
            _add_line(scene, THREAD_RADIUS, below, take.goal, GOAL_COLOR)
            _add(scene, sphere, (view.goal_radius, 0.0, 0.0), take.goal, (*GOAL_COLOR[:3], BALL_OPACITY))
    path = take.path[: step + 1]
    if path.shape[1] == 3:
        for start, end in itertools.pairwise(path[np.isfinite(path).all(axis=1)]):
            _add_line(scene, TRAIL_RADIUS, start, end, take.color)


def _add(scene: mujoco.MjvScene, kind: int, size: Sequence[float], position: np.ndarray, color: Sequence[float]) -> None:
    if scene.ngeom < scene.maxgeom:
        rgba = np.asarray(color, np.float32)
        mujoco.mjv_initGeom(scene.geoms[scene.ngeom], kind, np.array(size), position, np.eye(3).ravel(), rgba)
        scene.ngeom += 1


def _add_line(scene: mujoco.MjvScene, radius: float, start: np.ndarray, end: np.ndarray, color: Sequence[float]) -> None:
    if scene.ngeom < scene.maxgeom:
        capsule = mujoco.mjtGeom.mjGEOM_CAPSULE
        _add(scene, capsule, (0.0, 0.0, 0.0), np.zeros(3), color)
        mujoco.mjv_connector(scene.geoms[scene.ngeom - 1], capsule, radius, start, end)


if __name__ == "__main__":
    _draw(Path(sys.argv[1]))
