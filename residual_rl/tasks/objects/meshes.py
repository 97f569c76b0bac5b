"""User-supplied objects: the STL and OBJ meshes of a folder, decomposed into convex parts once and cached.

MuJoCo collides convex shapes only. With the extra `residual-rl[meshes]` a mesh becomes up to `MAX_PARTS` convex parts, so that
a cup stays hollow. Without it, a mesh becomes one convex hull, like the paper's objects.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot see into.

import hashlib
import importlib.util
import io
import os
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from residual_rl.errors import ResidualRLError
from residual_rl.optional import WORLDS, need
from residual_rl.tasks.objects.shapes import Shape, hull, normalized

FORMATS = (".stl", ".obj")
MAX_PARTS = 10  # convex parts of a shape; each costs time in every step of every episode
MAX_POINTS = 64  # points of a part
CONCAVITY = 0.05  # largest deviation of a part from convex, in units of the mesh; CoACD's default


def shapes_in(folder: str | Path) -> tuple[Shape, ...]:
    """Return the objects of a folder, in the order of their file names, with the z axis of the file up.

    Raises:
        ResidualRLError: the folder is missing, has no mesh, or has one that cannot be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ResidualRLError(f"{str(folder)!r} is not a folder; give one with {' and '.join(FORMATS)} files")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMATS)
    if not paths:
        raise ResidualRLError(f"no {' or '.join(FORMATS)} file in {str(folder)!r}")
    decompose = importlib.util.find_spec("coacd") is not None
    if not decompose:
        warnings.warn("each mesh becomes one convex hull; pip install 'residual-rl[meshes]' for convex parts", stacklevel=2)
    return tuple(_shape(path, decompose) for path in paths)


def cache_folder() -> Path:
    """Return the folder of cached convex parts: in `XDG_CACHE_HOME`, by default `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "residual_rl" / "meshes"


def _shape(path: Path, decompose: bool) -> Shape:
    settings = f"{MAX_PARTS} {MAX_POINTS} {CONCAVITY}" if decompose else "hull"
    cached = cache_folder() / f"{hashlib.sha256(settings.encode() + path.read_bytes()).hexdigest()}.npz"
    try:
        points = _load(cached)
        if points is None:
            vertices, faces = _read(path)
            points = _decompose(vertices, faces) if decompose else [vertices]
            _save(cached, points)
        return normalized(path.stem, [hull(part) for part in points])
    except (scipy.spatial.QhullError, ValueError) as error:
        raise ResidualRLError(f"{str(path)!r} cannot be an object: {str(error).splitlines()[0]}") from error


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices `[V, 3]` and triangles `[F, 3]` in the coordinates of the file."""
    mujoco = need("mujoco", *WORLDS)
    spec = mujoco.MjSpec()
    # Scaled to 1 below, so that any unit will do. The inertia is not used.
    spec.add_mesh(name="mesh", file=str(path.absolute()), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="mesh")
    model = spec.compile()
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, model.mesh_quat[0])
    vertices = model.mesh_vert.astype(float) @ rotation.reshape(3, 3).T + model.mesh_pos[0]
    return vertices / np.ptp(vertices, axis=0).max(), model.mesh_face.copy()


def _decompose(vertices: np.ndarray, faces: np.ndarray) -> list[np.ndarray]:
    coacd = need("coacd", "meshes", "convex parts")
    coacd.set_log_level("error")
    parts = coacd.run_coacd(
        coacd.Mesh(vertices, faces),
        threshold=CONCAVITY,
        max_convex_hull=MAX_PARTS,
        decimate=True,
        max_ch_vertex=MAX_POINTS,
        seed=0,
    )
    return [np.asarray(points) for points, _ in parts]


def _load(kept: Path) -> list[np.ndarray] | None:
    """Return the points of each part; None if they are not cached, or damaged."""
    try:
        with np.load(io.BytesIO(kept.read_bytes()), allow_pickle=False) as arrays:
            return [arrays[name] for name in sorted(arrays.files)]
    except Exception:  # damage can raise nearly any exception
        return None


def _save(kept: Path, parts: Iterable[np.ndarray]) -> None:
    """Cache the parts if possible; if the folder cannot be written, warn."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as beside:
            arrays: dict[str, Any] = {f"{index:03d}": part for index, part in enumerate(parts)}
            np.savez(Path(beside) / kept.name, **arrays)
            os.replace(Path(beside) / kept.name, kept)
    except OSError as error:
        warnings.warn(f"cannot cache convex parts: {error}", stacklevel=2)
