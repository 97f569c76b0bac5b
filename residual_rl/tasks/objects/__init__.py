"""ComplexHook's objects: bodies made of convex parts, drawn by families and the same on every machine.

Sizes in m, masses and damping belong to a scene (`tasks/scenes.py`), not to a shape. Objects of one's own are read from a
folder of meshes (`meshes.py`).

Differs: the paper's objects are meshes of unknown licence, each collided with as one convex hull. These are generated, and
what is hollow stays hollow.
"""

import functools

from residual_rl.tasks.objects import figures, held_out, household, solids, workshop
from residual_rl.tasks.objects.families import draw
from residual_rl.tasks.objects.meshes import MAX_PARTS, shapes_in
from residual_rl.tasks.objects.shapes import Shape

__all__ = ["MAX_PARTS", "Shape", "held_out_shapes", "shapes_in", "training_shapes"]


@functools.cache
def training_shapes() -> tuple[Shape, ...]:
    """The 132 objects to train with."""
    return draw(solids.FAMILIES | household.FAMILIES | figures.FAMILIES | workshop.FAMILIES)


@functools.cache
def held_out_shapes() -> tuple[Shape, ...]:
    """The 20 objects to test with."""
    return draw(held_out.FAMILIES)
