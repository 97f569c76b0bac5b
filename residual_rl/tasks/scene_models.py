"""One model for each scene in use, all of the same structure, so that a batch of different scenes steps in one call.

A copy of one master model becomes a scene by overwriting its geoms, masses and damping with those of the scene. Compiling a
scene with its robot takes as long as half an episode of 100 steps; this takes a hundredth of one.
"""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

import copy
from collections.abc import Callable, Sequence

import mujoco
import numpy as np

from residual_rl.tasks.fetch import ROBOT
from residual_rl.tasks.objects import MAX_PARTS, Shape
from residual_rl.tasks.objects.shapes import ball
from residual_rl.tasks.scenes import MAX_BUMPS, OBJECT, TABLE
from residual_rl.tasks.versions import set_constants

Mesh = mujoco.mjtGeom.mjGEOM_MESH
PARKED = (0.0, 0.0, 100.0)  # m, the place of geoms that a scene does not use: far from everything
ON_FLOOR = "robot0:base_link"  # always in contact with the floor: its mesh is kept to the last bit
BODY_FIELDS = ("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_sameframe")
GEOM_FIELDS = ("geom_type", "geom_size", "geom_pos", "geom_quat", "geom_rbound", "geom_aabb", "geom_sameframe")


class SceneModels:
    """The models of the scenes of a batch of episodes.

    Args:
        master: compiled from the result of `make_room`.
        scene_model: returns a scene's model without the robot for its number, compiled from scratch.
    """

    def __init__(self, master: mujoco.MjModel, scene_model: Callable[[int], mujoco.MjModel]):
        self._master = master
        self._scene_model = scene_model
        self._data = mujoco.MjData(master)
        self._models: dict[int, mujoco.MjModel] = {}
        self._last: tuple[np.ndarray, list[mujoco.MjModel]] = np.empty(0, dtype=np.int64), []

    def of(self, numbers: np.ndarray) -> list[mujoco.MjModel]:
        """Return the model of each scene in `numbers` `[E]`; equal scenes share one. They are valid until the next call."""
        known, models = self._last
        if not np.array_equal(numbers, known):
            wanted = set(numbers.tolist())
            idle = [number for number in self._models if number not in wanted]
            for number in wanted - self._models.keys():
                model = self._models.pop(idle.pop()) if idle else copy.copy(self._master)
                enter(model, self._scene_model(number), self._data)
                self._models[number] = model
            models = [self._models[number] for number in numbers.tolist()]
            self._last = numbers.copy(), models
        return models


def make_room(spec: mujoco.MjSpec, shapes: Sequence[Shape]) -> mujoco.MjSpec:
    """Make a hook scene a master: add geoms for all bumps and for every part of any of the shapes.

    Without shapes the object is not changed.

    The robot's meshes lose the points inside their hulls, which cannot collide: 2.5 MB for a model instead of 9.

    Raises:
        ValueError: a shape has too many parts.
    """
    for shape in shapes:
        if len(shape.parts) > MAX_PARTS:
            raise ValueError(f"{shape.name!r} has {len(shape.parts)} parts; there is room for {MAX_PARTS}")
    for _ in range(MAX_BUMPS):
        spec.body(TABLE).add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.001, 0.001, 0.001), pos=PARKED)
    if shapes:
        body = spec.body(OBJECT)
        for geom in list(body.geoms):
            spec.delete(geom)
        for slot in range(max(len(shape.parts) for shape in shapes)):
            points = max(len(shape.parts[slot].points) for shape in shapes if slot < len(shape.parts))
            spec.add_mesh(name=slot_mesh(slot), uservert=0.01 * ball(max(points, 4)).ravel())
            # Off centre: a body whose inertial frame differs gets MuJoCo's general formulas, which hold for any body.
            body.add_geom(type=Mesh, meshname=slot_mesh(slot), pos=(0.01, 0.02, 0.03), mass=0.1)
    _keep_only_hulls(spec)
    return spec


def slot_mesh(slot: int) -> str:
    """Return the name of a master's mesh for the object's part number `slot`."""
    return f"part{slot}"


def enter(model: mujoco.MjModel, scene: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Turn a copy of the master into a scene: `scene` is the scene's own model without the robot.

    Args:
        model: the copy, which is changed.
        scene: the source.
        data: of any model of this structure; its content is lost.
    """
    for name in (TABLE, OBJECT):
        ours, theirs = model.body(name).id, scene.body(name).id
        for field in BODY_FIELDS:
            getattr(model, field)[ours] = getattr(scene, field)[theirs]
        first, slots, count = model.body_geomadr[ours], model.body_geomnum[ours], scene.body_geomnum[theirs]
        used, source = slice(first, first + count), slice(scene.body_geomadr[theirs], scene.body_geomadr[theirs] + count)
        for field in GEOM_FIELDS:
            getattr(model, field)[used] = getattr(scene, field)[source]
        model.geom_pos[first + count : first + slots] = PARKED
    for part in range(scene.body_geomnum[scene.body(OBJECT).id]):
        _copy_mesh(model, model.body(OBJECT).geomadr[0] + part, part, scene, scene.body(OBJECT).geomadr[0] + part)
    ours, theirs = model.joint("object0:joint").dofadr[0], scene.joint("object0:joint").dofadr[0]
    model.dof_damping[ours : ours + 6] = scene.dof_damping[theirs : theirs + 6]
    set_constants(model, data)


def _copy_mesh(model: mujoco.MjModel, geom: int, slot: int, scene: mujoco.MjModel, source: int) -> None:
    """Copy the parts of a mesh that collisions use: its points, their graph, and the faces of its hull."""
    if scene.geom_type[source] != Mesh:
        model.geom_dataid[geom] = -1
        return
    ours, theirs = model.mesh(slot_mesh(slot)).id, scene.geom_dataid[source]
    model.geom_dataid[geom] = ours

    def copy_rows(count: int, to: int, start: int, *fields: str, moved_by: int = 0) -> None:
        for field in fields:
            getattr(model, field)[to : to + count] = getattr(scene, field)[start : start + count] + moved_by

    graph = scene.mesh_graphadr[theirs]
    corners, triangles = scene.mesh_graph[graph : graph + 2]
    copy_rows(2 + 3 * corners + 6 * triangles, model.mesh_graphadr[ours], graph, "mesh_graph")
    if hasattr(model, "mesh_extrema"):  # in later versions of MuJoCo: where the search for a mesh's farthest point starts
        copy_rows(1, ours, theirs, "mesh_extrema")

    count, to, start = scene.mesh_vertnum[theirs], model.mesh_vertadr[ours], scene.mesh_vertadr[theirs]
    entries = scene.mesh_polymapnum[start : start + count].sum()  # one for each corner of each face
    map_to, map_start = model.mesh_polymapadr[to], scene.mesh_polymapadr[start]
    model.mesh_vertnum[ours] = count
    copy_rows(count, to, start, "mesh_vert", "mesh_polymapnum")
    copy_rows(count, to, start, "mesh_polymapadr", moved_by=map_to - map_start)
    copy_rows(entries, map_to, map_start, "mesh_polymap")

    count, to, start = scene.mesh_polynum[theirs], model.mesh_polyadr[ours], scene.mesh_polyadr[theirs]
    list_to, list_start = model.mesh_polyvertadr[to], scene.mesh_polyvertadr[start]
    model.mesh_polynum[ours] = count
    copy_rows(count, to, start, "mesh_polynormal", "mesh_polyvertnum")
    copy_rows(count, to, start, "mesh_polyvertadr", moved_by=list_to - list_start)
    copy_rows(entries, list_to, list_start, "mesh_polyvert")


def _keep_only_hulls(spec: mujoco.MjSpec) -> None:
    model = spec.copy().compile()
    stock = [mesh for mesh in spec.meshes if mesh.name.startswith(ROBOT)]
    for geom in spec.geoms:
        if geom.type == Mesh and geom.meshname.startswith(ROBOT) and geom.meshname != ON_FLOOR:
            mesh = model.mesh(geom.meshname)
            points = model.mesh_vert[mesh.vertadr[0] + _hull(model, mesh.id)].astype(float)
            rotation = np.empty(9)
            mujoco.mju_quat2Mat(rotation, model.mesh_quat[mesh.id])
            name = f"{geom.meshname}:hull"
            # The one face is a dummy. Inertia, and with it the mesh's frame, come from the hull.
            spec.add_mesh(
                name=name,
                uservert=(points @ rotation.reshape(3, 3).T + model.mesh_pos[mesh.id]).ravel(),
                userface=[0, 1, 2],
                inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX,
            )
            geom.meshname = name
    for mesh in stock:
        if mesh.name != ON_FLOOR:
            spec.delete(mesh)
    for material in spec.materials:
        material.textures = [""] * len(material.textures)
    for texture in list(spec.textures):
        spec.delete(texture)


def _hull(model: mujoco.MjModel, mesh: int) -> np.ndarray:
    """Return the indices of a mesh's points that are corners of its convex hull."""
    start = model.mesh_graphadr[mesh]
    size = model.mesh_graph[start]
    return model.mesh_graph[start + 2 + size : start + 2 + 2 * size]
