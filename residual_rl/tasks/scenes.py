"""The scenes of ComplexHook: bumps on the table and an object. A number determines a scene."""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot read.

from typing import NamedTuple

import mujoco
import numpy as np

from residual_rl.tasks.objects import Shape
from residual_rl.tasks.objects.shapes import add_parts, scaled
from residual_rl.tasks.variants import Variant
from residual_rl.tasks.versions import set_damping

TABLE, OBJECT = "table0", "object0"  # bodies
TABLE_HALF_HEIGHT = 0.2  # m
MIN_BUMPS, MAX_BUMPS = 5, 15
NUM_BUMPS = (10.0, 2.1)  # mean and standard deviation of the normal distribution that is rounded, and drawn again outside
BUMP_SIDES = (0.002, 0.1)  # m, along x and y
LOWEST_BUMP = 0.0002  # m
BUMP_RANGE = 0.3  # m from the table's centre, per axis
SIZES = (0.06, 0.12)  # m, the largest side of an object's bounding box
MASSES = (0.015, 0.25)  # kg
DAMPINGS = (0.2, 5.0)  # N s/m and N m s/rad of the free joint: how objects differ in "friction"
SITE_HEIGHT = 0.007  # m from an object's lowest point to the site that is its position
STRAY_SHARES = (0.0, 0.5, 0.57, 0.71, 0.84, 0.93, 0.96, 1.0)
STRAY_DISTANCES = (0.0, 0.013, 0.02, 0.05, 0.1, 0.2, 0.4, 0.88)  # m; a share of the objects strays by no more
SCENE_SEED = 18120  # of this project's scenes


class Scene(NamedTuple):
    """Bumps and an object."""

    bump_half_sizes: np.ndarray
    """[N, 3] m"""
    bump_positions: np.ndarray
    """[N, 2] m from the table's centre"""
    shape: Shape | None
    """None for the cube of the plain hook; its size, mass and damping are then not used."""
    size: float
    """m, the largest side of the object's bounding box."""
    mass: float
    """kg"""
    damping: float
    """Of the object's free joint, N s/m and N m s/rad."""
    stray: np.ndarray
    """[2] m from the object's nominal start to its actual place."""


def draw_scene(variant: Variant, number: int) -> Scene:
    """Return the scene with this number. Variants without bumps or objects share the rest with the others."""
    bump_rng, object_rng, stray_rng = (np.random.default_rng([SCENE_SEED, number, purpose]) for purpose in range(3))
    count = 0
    while not MIN_BUMPS <= count <= MAX_BUMPS:
        count = round(bump_rng.normal(*NUM_BUMPS))
    count = count if variant.bumps else 0
    shapes = variant.shapes() if variant.shapes else (None,)
    angle = stray_rng.uniform(0.0, 2 * np.pi)
    distance = np.interp(stray_rng.random(), STRAY_SHARES, STRAY_DISTANCES) if variant.stray_origin and variant.shapes else 0.0
    narrow, wide = BUMP_SIDES
    bumps = bump_rng.uniform((narrow, narrow, LOWEST_BUMP), (wide, wide, variant.highest_bump), (count, 3))
    return Scene(
        bump_half_sizes=bumps / 2,
        bump_positions=bump_rng.uniform(-BUMP_RANGE, BUMP_RANGE, (count, 2)),
        shape=shapes[object_rng.integers(len(shapes))],
        size=object_rng.uniform(*SIZES),
        mass=object_rng.uniform(*MASSES),
        damping=object_rng.uniform(*DAMPINGS),
        stray=distance * np.array([np.cos(angle), np.sin(angle)]),
    )


def furnish(spec: mujoco.MjSpec, scene: Scene) -> mujoco.MjSpec:
    """Add a scene's bumps and object to the plain hook's scene, which is changed and returned.

    The object's position is that of its site, 7 mm above the lowest point and over the centre of its bounding box.
    Differs: the published scenes have it 1 cm beside that centre in y.
    """
    table, body = spec.body(TABLE), spec.body(OBJECT)
    for number, (half_size, position) in enumerate(zip(scene.bump_half_sizes, scene.bump_positions, strict=True)):
        center = (*position, TABLE_HALF_HEIGHT + half_size[2])
        table.add_geom(name=f"bump{number}", type=mujoco.mjtGeom.mjGEOM_BOX, size=half_size, pos=center)
    if scene.shape is not None:
        for geom in list(body.geoms):
            spec.delete(geom)
        parts = [scaled(part, scene.size, (0.0, 0.0, -SITE_HEIGHT / scene.size)) for part in scene.shape.parts]
        add_parts(spec, body, parts, density=scene.mass / (scene.shape.volume * scene.size**3))
        set_damping(body.joints[0], scene.damping)
    return spec
