"""The variants of the library's tasks, with their deliberate faults. No simulator is needed.

The paper's controllers start from known success rates, which depend on how a simulator treats contacts. So a few constants are
set for today's MuJoCo; each is documented beside its published value, for which there is a separate task or controller. The
rates are in `studies/controllers`, their derivation in `docs/physics.md`.

Source: Silver et al. 2018, section V-A, and the code published with it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from residual_rl.tasks.objects import Shape, held_out_shapes, training_shapes
from residual_rl.tasks.rules import OBJECT_ORIGIN, Rules


@dataclass(frozen=True)
class BlockScene:
    """A variant of the block tasks."""

    friction: tuple[float, float, float] | None = None
    """Sliding, torsional and rolling friction of every geom; None keeps the model's own.

    MuJoCo takes the larger of the two geoms' friction in a contact. Slippery therefore needs all geoms changed, as the
    published code did; the paper mentions only the block, which would change nothing.
    """
    gripper_blocked: bool = True
    """Whether the fingers are held closed."""
    extra_height: float = 0.0
    """m by which the gripper starts higher than with its fingertips on the table."""
    goal_heights: float = 0.0
    """m above the table: half of the goals lie in the air, up to this high. 0 leaves all on the table."""
    action_gain: float = 1.0
    """Factor of the action, which is then clipped to [-1, 1]. 1 is Fetch's own, and the default because it lets a residual
    make moves of any length. The published residual over DiscreteMPC was learned with 10: any component beyond 0.1 is then a
    full move of 5 cm. (The published runs without a controller used 1, so the two did not act in the same environment.)"""


PUSH = BlockScene()
MPC_PUSH = BlockScene(action_gain=10.0)
SLIPPERY_PUSH = BlockScene(friction=(0.19, 0.005, 0.0001))
"""Differs: published with a sliding friction of 0.18. In today's MuJoCo the block then slides past the goal more often:
ReactivePush solves 0.34 of the episodes, instead of about 0.45."""
PUBLISHED_FRICTION = BlockScene(friction=(0.18, 0.005, 0.0001))
PICK_AND_PLACE = BlockScene(gripper_blocked=False, extra_height=0.2, goal_heights=0.45)


@dataclass(frozen=True)
class Noise:
    """The noise of a frame."""

    std: float = 0.025
    """m and rad, standard deviation of every draw.

    The published code uses 0.025 as the standard deviation; the paper calls it the variance. The published results are the
    code's, so 0.025 is the default in both tasks.
    """
    of_rotation: bool = False
    """Whether the object's three angles are noisy, as the paper says. False overwrites entries 12-14, as the code did."""


NOISE_AS_RUN = Noise()
NOISE_AS_DESCRIBED = Noise(of_rotation=True)


@dataclass(frozen=True)
class Variant:
    """A variant of ComplexHook. Source: facts about the published scene files and code."""

    pool: int | None = 100
    """Number of scenes that all episodes come from, as the published code ran; None, as the paper describes: each
    episode has a scene of its own."""
    shapes: Callable[[], tuple[Shape, ...]] | None = training_shapes
    """Returns the objects; None keeps the cube of the plain hook."""
    bumps: bool = True
    """Whether the table has bumps."""
    settles_in_place: bool = False
    """Whether the object settles at its start. False, as the published code: it is dropped from 0.2 m at a place without
    bumps, and then moved in x and y, possibly into a bump, possibly still falling."""
    stray_origin: bool = True
    """Whether an object lies beside its start, by as much as the published meshes lie beside their origin: 1 cm in the median,
    beyond 10 cm in 16 % of the scenes, some of them off the table. The plain hook's cube never does. False, as the paper
    describes: each object itself is put where an episode begins."""
    highest_bump: float = 0.0075
    """m. Bumps are as high as this at most, uniformly. Differs: published with 0.01, because under today's MuJoCo those
    stop ReactiveHook more often than in the paper (docs/physics.md, also on what is known of the cause)."""


AS_RUN = Variant()
CENTERED_ORIGINS = Variant(stray_origin=False)
PUBLISHED_BUMPS = Variant(highest_bump=0.01)
AS_DESCRIBED = Variant(pool=None, settles_in_place=True, stray_origin=False)
HELD_OUT = replace(AS_DESCRIBED, shapes=held_out_shapes)
ONLY_BUMPS = Variant(shapes=None)
ONLY_OBJECTS = Variant(bumps=False)

PUSHER_AS_RUN = Rules()
PUSHER_AS_DESCRIBED = Rules(tip_weight=0.1, action_weight=0.5, square_action=False, goal_height=OBJECT_ORIGIN[2])
"""As the paper describes it; success is that of the other tasks, which requires a goal at the object's height."""
