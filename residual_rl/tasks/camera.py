"""Pictures of a batch of states for policies: small, many, and without effects.

One OpenGL context serves a process. Multisampling, shadows, reflections, skybox and haze are off: with them, software rendering
is up to 20 times as slow. `residual_rl.pictures` draws for people instead.

EGL is used if its library is there, else OSMesa; the environment variable MUJOCO_GL decides if it is set. The two differ in
single pixels: do not mix them within a study.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

import ctypes
import ctypes.util
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import mujoco
import numpy as np

from residual_rl.errors import ResidualRLError
from residual_rl.tasks.view import View

LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")}
INSTALL = (
    "visual tasks need OpenGL: on Debian or Ubuntu, apt-get install libegl1 libgl1-mesa-dri (or libosmesa6). "
    "The tasks from state, such as door-state, need none"
)
SWITCHED_OFF = ("0", "false", "off", "disable", "disabled", "none")
"""Values of MUJOCO_GL."""
EFFECTS = ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG")
MAX_GEOMS = 400

Kind = Literal["rgb", "depth"]


def without_effects(spec: mujoco.MjSpec, size: int) -> mujoco.MjModel:
    """Compile a scene for pictures of `size` x `size`, drawn without effects."""
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.visual.global_.offheight = spec.visual.global_.offwidth = size
    for material in spec.materials:
        material.reflectance = 0.0
    return spec.compile()


class Camera:
    """A camera of a model, with the buffers for its pictures.

    Args:
        model: from `without_effects`.
        lens: the name of a camera in the model, or a free camera.
        size: pixels of an edge.
        kind: "rgb", or "depth" as one channel.
        nearest: m; depth from here on is 0 ...
        farthest: m; ... and here 255. Nearer points count as far.
        groups: of geoms that are drawn besides 0 to 2.

    Raises:
        ResidualRLError: there is no such camera, or no OpenGL.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        lens: str | mujoco.MjvCamera,
        size: int,
        kind: Kind = "rgb",
        nearest: float = 0.5,
        farthest: float = 2.0,
        groups: Sequence[int] = (),
    ):
        self.model = model
        self.size = size
        self.channels = 3 if kind == "rgb" else 1
        self._kind = kind
        self._near, self._far = nearest, farthest
        self.lens = _fixed(model, lens) if isinstance(lens, str) else lens
        self._current = open_gl()
        self._current(size)
        self._data = mujoco.MjData(model)
        self._option = mujoco.MjvOption()
        for group in groups:
            self._option.geomgroup[group] = 1
        self._perturb = mujoco.MjvPerturb()
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        for effect in EFFECTS:
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{effect}")] = 0
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._use()
        self._view = mujoco.MjrRect(0, 0, size, size)
        self._rgb = np.empty((size, size, 3), np.uint8)
        self._depth = np.empty((size, size), np.float32)

    def take(
        self,
        physics: np.ndarray,
        place: np.ndarray,
        out: np.ndarray,
        change: Callable[[int, mujoco.MjModel], None] = lambda row, model: None,
        lenses: Sequence[mujoco.MjvCamera] | None = None,
    ) -> None:
        """Write pictures of states into `out` `[E, size, size, channels]` uint8, from the top row downwards.

        Args:
            physics: `[E, S]` MuJoCo's full physics state.
            place: `[E, 7 * bodies]` positions, then quaternions, of the mocap bodies.
            out: any view of an array of bytes.
            change: writes into the model what differs in a row's episode.
            lenses: a camera for each row; None for this one's own.
        """
        self._use()
        bodies = self.model.nmocap
        for row, state in enumerate(physics):
            if not np.isfinite(state).all():
                out[row] = 0
                continue
            change(row, self.model)
            mujoco.mj_setState(self.model, self._data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
            if bodies:
                self._data.mocap_pos[:] = place[row, : 3 * bodies].reshape(bodies, 3)
                self._data.mocap_quat[:] = place[row, 3 * bodies :].reshape(bodies, 4)
            mujoco.mj_kinematics(self.model, self._data)
            mujoco.mj_camlight(self.model, self._data)
            self.shoot(self._data, out[row], lenses[row] if lenses else None)

    def _use(self) -> None:
        """Make this camera's buffers those that OpenGL draws into; a process may have other cameras."""
        self._current(self.size)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)

    def shoot(self, data: mujoco.MjData, out: np.ndarray, lens: mujoco.MjvCamera | None = None) -> None:
        """Write one picture of `data`, whose kinematics are computed, into `out` `[size, size, channels]`."""
        categories = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self.model, data, self._option, self._perturb, lens or self.lens, categories, self._scene)
        mujoco.mjr_render(self._view, self._scene, self._context)
        if self._kind == "rgb":
            mujoco.mjr_readPixels(self._rgb, None, self._view, self._context)
            out[:] = self._rgb[::-1]
        else:
            mujoco.mjr_readPixels(None, self._depth, self._view, self._context)
            out[..., 0] = self._steps_of_depth(self._depth[::-1])

    def _steps_of_depth(self, buffer: np.ndarray) -> np.ndarray:
        """Return depth in 255 steps from the depth buffer, in which 1 is the near plane and 0 the far one."""
        extent, clip = self.model.stat.extent, self.model.vis.map
        near, far = clip.znear * extent, clip.zfar * extent
        metres = near * far / ((far - near) * buffer + near)
        metres[metres <= self._near] = self._far
        return np.floor(255.0 * ((metres - self._near) / (self._far - self._near)).clip(0.0, 1.0)).astype(np.uint8)


def free_camera(view: View) -> mujoco.MjvCamera:
    """Return the camera of a view."""
    lens = mujoco.MjvCamera()
    lens.lookat[:] = view.lookat
    lens.distance, lens.azimuth, lens.elevation = view.distance, view.azimuth, view.elevation
    return lens


def _fixed(model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
    known = [model.camera(number).name for number in range(model.ncam)]
    if name not in known:
        raise ResidualRLError(f"there is no camera {name!r}; there are: {', '.join(known)}")
    lens = mujoco.MjvCamera()
    lens.type = mujoco.mjtCamera.mjCAMERA_FIXED
    lens.fixedcamid = model.camera(name).id
    return lens


@cache
def open_gl() -> Callable[[int], None]:
    """Return a function that makes the OpenGL context of this process current, with room for pictures of a size.

    Raises:
        ResidualRLError: there is none; names what to install.
    """
    name = _backend()
    contexts: list[Any] = []
    try:
        module = importlib.import_module(f"mujoco.{name}")
        contexts.append(module.GLContext(8, 8))  # offscreen buffers have their own size
        contexts[0].make_current()
    except Exception as error:  # each backend has its own
        raise ResidualRLError(f"OpenGL by {name} failed ({type(error).__name__}: {error}); {INSTALL}") from error
    return lambda size: contexts[0].make_current()


def backend_name() -> str:
    """Return the OpenGL backend that this process uses: "egl" or "osmesa".

    Raises:
        ResidualRLError: there is none; names what to install.
    """
    open_gl()
    return _backend()


def _backend() -> str:
    asked = os.environ.get("MUJOCO_GL", "").lower()
    if asked in SWITCHED_OFF:
        raise ResidualRLError(f"MUJOCO_GL={os.environ['MUJOCO_GL']} switches pictures off, and visual tasks need them")
    if asked in ("glfw", "") and sys.platform != "linux":
        return "glfw"
    if asked:
        return asked
    for name, libraries in LIBRARIES.items():
        if any(_loads(library) for library in libraries):
            return name
    raise ResidualRLError(f"there is no libEGL.so.1 and no libOSMesa; {INSTALL}")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
