"""ComplexHook's objects: bodies of convex parts, drawn from families, the same on every machine.

Sizes in m, masses and damping belong to a scene (`tasks/scenes.py`), not to a shape. User-supplied objects are read from a
folder of meshes (`meshes.py`).

Differs: the paper's objects are meshes of unknown licence, and each collides as one convex hull. These objects are generated,
and hollow objects stay hollow.
"""

import functools

from residual_rl.tasks.objects import figures, held_out, household, solids, workshop
from residual_rl.tasks.objects.families import draw
from residual_rl.tasks.objects.meshes import MAX_PARTS, shapes_in
from residual_rl.tasks.objects.shapes import Shape

__all__ = ["MAX_PARTS", "Shape", "held_out_shapes", "shapes_in", "training_shapes"]


@functools.cache
def training_shapes() -> tuple[Shape, ...]:
    """Return the 132 training objects."""
    return draw(solids.FAMILIES | household.FAMILIES | figures.FAMILIES | workshop.FAMILIES)


@functools.cache
def held_out_shapes() -> tuple[Shape, ...]:
    """Return the 20 test objects."""
    return draw(held_out.FAMILIES)
