"""Objects of one's own: the STL and OBJ meshes of a folder, each made of convex parts once and kept.

MuJoCo collides with convex shapes alone. With the extra `residual-rl[meshes]` a mesh becomes up to `MAX_PARTS` convex parts, so
that a cup stays hollow; without it, one convex hull, which is what the paper's objects were.
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
MAX_POINTS = 64  # of a part
CONCAVITY = 0.05  # how far a part may be from convex, in units of the mesh; CoACD's own default


def shapes_in(folder: str | Path) -> tuple[Shape, ...]:
    """The objects in a folder, in the order of their file names. They stand as they do in their files, z up.

    Raises:
        ResidualRLError: there is no such folder, no mesh in it, or one that cannot be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ResidualRLError(f"{str(folder)!r} is no folder; one with {' and '.join(FORMATS)} files is needed")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMATS)
    if not paths:
        raise ResidualRLError(f"no {' or '.join(FORMATS)} file in {str(folder)!r}")
    decompose = importlib.util.find_spec("coacd") is not None
    if not decompose:
        warnings.warn("each mesh becomes one convex hull; pip install 'residual-rl[meshes]' for convex parts", stacklevel=2)
    return tuple(_shape(path, decompose) for path in paths)


def cache_folder() -> Path:
    """Where convex parts are kept: in `XDG_CACHE_HOME`, by default `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "residual_rl" / "meshes"


def _shape(path: Path, decompose: bool) -> Shape:
    settings = f"{MAX_PARTS} {MAX_POINTS} {CONCAVITY}" if decompose else "hull"
    kept = cache_folder() / f"{hashlib.sha256(settings.encode() + path.read_bytes()).hexdigest()}.npz"
    try:
        points = _load(kept)
        if points is None:
            vertices, faces = _read(path)
            points = _decompose(vertices, faces) if decompose else [vertices]
            _save(kept, points)
        return normalized(path.stem, [hull(part) for part in points])
    except (scipy.spatial.QhullError, ValueError) as error:
        raise ResidualRLError(f"{str(path)!r} cannot be an object: {str(error).splitlines()[0]}") from error


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `[V, 3]` and triangles `[F, 3]`, as they stand in the file."""
    mujoco = need("mujoco", *WORLDS)
    spec = mujoco.MjSpec()
    # Scaled to 1 by hand below: a mesh in mm or in km is as good as one in m. Any inertia will do.
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
    """The points of each part; None where they are not kept, or damaged."""
    try:
        with np.load(io.BytesIO(kept.read_bytes()), allow_pickle=False) as arrays:
            return [arrays[name] for name in sorted(arrays.files)]
    except Exception:  # a flipped bit comes out as nearly anything
        return None


def _save(kept: Path, parts: Iterable[np.ndarray]) -> None:
    """Keeps the parts where that is possible; a folder that cannot be written only costs time later."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as beside:
            arrays: dict[str, Any] = {f"{index:03d}": part for index, part in enumerate(parts)}
            np.savez(Path(beside) / kept.name, **arrays)
            os.replace(Path(beside) / kept.name, kept)
    except OSError as error:
        warnings.warn(f"convex parts are not kept: {error}", stacklevel=2)
