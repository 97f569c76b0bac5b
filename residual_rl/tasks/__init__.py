"""The tasks of the library: `TASKS` by name, and `find_task`."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from residual_rl.errors import UnknownName
from residual_rl.optional import WORLDS, missing, need
from residual_rl.tasks import objects, rules, variants, view
from residual_rl.tasks.adroit.task import ADROIT_TASKS, VISUAL_TASKS
from residual_rl.tasks.gymnasium_envs import World
from residual_rl.tasks.mime.task import MIME_TASKS, MIME_VISUAL_TASKS
from residual_rl.tasks.racing import world as racing_world
from residual_rl.tasks.racing.task import FROM_FILES, RACING_TASKS, racing_on
from residual_rl.tasks.task import Task
from residual_rl.tasks.visual import VisualTask
from residual_rl.types import Spec

HOOK = {"episodes_per_cycle": 4, "algorithm.noise": 0.1}
"""The published fields for all hook tasks."""
TWO_FRAMES = HOOK | {"algorithm.frames": 2}


def _world(module: str, name: str, *variant: Any) -> Callable[[int | None], World]:
    """Return a function from a number of physics threads to a world. It imports the world's module, and MuJoCo, when called.

    Raises:
        ResidualRLError: when it is called, the extra `tasks` is not installed.
    """
    return lambda num_threads: getattr(need(f"residual_rl.tasks.{module}", *WORLDS), name)(*variant, num_threads)


def _complex_hook(suffix: str, summary: str, gymnasium_id: str, variant: variants.Variant) -> Task:
    return Task(
        name=f"complex-hook{suffix}",
        summary=summary,
        gymnasium_id=gymnasium_id,
        spec=rules.HOOK,
        default_controller="reactive-hook",
        make_world=_world("complex_hook", "ComplexHookWorld", variant),
        reward=rules.reward,
        success=rules.success,
        published=HOOK,
        view=view.HOOK,
    )


WITH_MESHES = "complex-hook:"


def _complex_hook_with_meshes(folder: str) -> Task:
    shapes = objects.shapes_in(folder)
    return _complex_hook(
        f":{folder}",
        f"hook on a bumpy table, with {len(shapes)} objects from {folder}",
        "residual_rl/ComplexHookWithMeshes-v0",
        replace(variants.AS_DESCRIBED, shapes=lambda: shapes),
    )


TASKS = {
    task.name: task
    for task in (
        Task(
            name="push",
            summary="push a block across a table to a goal",
            gymnasium_id="residual_rl/Push-v0",
            spec=rules.BLOCK._replace(world="push"),
            default_controller="reactive-push",
            make_world=_world("block", "BlockWorld", variants.PUSH),
            reward=rules.reward,
            success=rules.success,
            view=view.PUSH,
        ),
        Task(
            name="slippery-push",
            summary="push with 0.19 of the friction: a controller tuned for Push overshoots",
            gymnasium_id="residual_rl/SlipperyPush-v0",
            spec=rules.BLOCK._replace(world="slippery-push"),
            default_controller="reactive-push",
            make_world=_world("block", "BlockWorld", variants.SLIPPERY_PUSH),
            reward=rules.reward,
            success=rules.success,
            view=view.PUSH,
        ),
        Task(
            name="slippery-push-published-friction",
            summary="the same with 0.18 of the friction, as published: harder in today's MuJoCo",
            gymnasium_id="residual_rl/SlipperyPushPublishedFriction-v0",
            spec=rules.BLOCK._replace(world="slippery-push-published-friction"),
            default_controller="reactive-push",
            make_world=_world("block", "BlockWorld", variants.PUBLISHED_FRICTION),
            reward=rules.reward,
            success=rules.success,
            view=view.PUSH,
        ),
        Task(
            name="pick-and-place",
            summary="carry a block to a goal on the table or in the air",
            gymnasium_id="residual_rl/PickAndPlace-v0",
            spec=rules.BLOCK._replace(world="pick-and-place"),
            default_controller="oscillating-pick-and-place",
            make_world=_world("block", "BlockWorld", variants.PICK_AND_PLACE),
            reward=rules.reward,
            success=rules.success,
            view=view.PICK_AND_PLACE,
        ),
        Task(
            name="mpc-push",
            summary="push with actions times 10, then clipped: as published over DiscreteMPC",
            gymnasium_id="residual_rl/MPCPush-v0",
            spec=rules.BLOCK._replace(world="push"),
            default_controller="discrete-mpc",
            make_world=_world("block", "BlockWorld", variants.MPC_PUSH),
            reward=rules.reward,
            success=rules.success,
            view=view.PUSH,
        ),
        Task(
            name="hook",
            summary="pull a cube out of reach to a goal with a hook",
            gymnasium_id="residual_rl/Hook-v0",
            spec=rules.HOOK,
            default_controller="reactive-hook",
            make_world=_world("hook", "HookWorld"),
            reward=rules.reward,
            success=rules.success,
            published=HOOK,
            view=view.HOOK,
        ),
        Task(
            name="noisy-hook",
            summary="the same seen through noise, in two frames: the controller misses its grasp",
            gymnasium_id="residual_rl/NoisyHook-v0",
            spec=rules.NOISY_HOOK,
            default_controller="reactive-hook",
            make_world=_world("noisy_hook", "NoisyHookWorld", variants.NOISE_AS_RUN),
            reward=rules.reward,
            success=rules.success,
            published=TWO_FRAMES,
            view=view.HOOK,
        ),
        Task(
            name="noisy-hook-as-described",
            summary="the same with noise on the cube's rotation too, as the paper says, instead of overwriting entries",
            gymnasium_id="residual_rl/NoisyHookAsDescribed-v0",
            spec=rules.NOISY_HOOK,
            default_controller="reactive-hook",
            make_world=_world("noisy_hook", "NoisyHookWorld", variants.NOISE_AS_DESCRIBED),
            reward=rules.reward,
            success=rules.success,
            published=TWO_FRAMES,
            view=view.HOOK,
        ),
        Task(
            name="mbrl-pusher",
            summary="push a cylinder to a goal with an arm of seven joints, for a reward at every step",
            gymnasium_id="residual_rl/MBRLPusher-v0",
            spec=rules.PUSHER,
            default_controller="zero",
            make_world=_world("pusher", "PusherWorld", variants.PUSHER_AS_RUN),
            reward=variants.PUSHER_AS_RUN.reward,
            success=rules.success,
            measured_by="return",
            published={"episodes_per_cycle": 2},
            view=view.PUSHER,
        ),
        Task(
            name="mbrl-pusher-as-described",
            summary="the same, rewarded as the paper words it",
            gymnasium_id="residual_rl/MBRLPusherAsDescribed-v0",
            spec=rules.PUSHER,
            default_controller="zero",
            make_world=_world("pusher", "PusherWorld", variants.PUSHER_AS_DESCRIBED),
            reward=variants.PUSHER_AS_DESCRIBED.reward,
            success=rules.success,
            measured_by="return",
            published={"episodes_per_cycle": 2},
            view=view.PUSHER,
        ),
        _complex_hook(
            "",
            "hook on a bumpy table, with objects of many shapes: 100 fixed scenes",
            "residual_rl/ComplexHook-v0",
            variants.AS_RUN,
        ),
        _complex_hook(
            "-as-described",
            "the same with bumps and an object drawn afresh for each episode",
            "residual_rl/ComplexHookAsDescribed-v0",
            variants.AS_DESCRIBED,
        ),
        _complex_hook(
            "-test",
            "the same with objects that the other tasks never show",
            "residual_rl/ComplexHookTest-v0",
            variants.HELD_OUT,
        ),
        _complex_hook(
            "-published-bumps",
            "the 100 scenes with bumps as high as published, which today's contacts make harder",
            "residual_rl/ComplexHookPublishedBumps-v0",
            variants.PUBLISHED_BUMPS,
        ),
        _complex_hook(
            "-centered-origins",
            "the 100 scenes with every object at its start, none of them out of reach",
            "residual_rl/ComplexHookCenteredOrigins-v0",
            variants.CENTERED_ORIGINS,
        ),
        _complex_hook(
            "-only-bumps",
            "the 100 scenes' bumps with the cube of hook",
            "residual_rl/ComplexHookOnlyBumps-v0",
            variants.ONLY_BUMPS,
        ),
        _complex_hook(
            "-only-objects",
            "the 100 scenes' objects on a table without bumps",
            "residual_rl/ComplexHookOnlyObjects-v0",
            variants.ONLY_OBJECTS,
        ),
        *RACING_TASKS,
        *ADROIT_TASKS,
        *MIME_TASKS,
    )
}

VISUAL = {task.name: task for task in (*VISUAL_TASKS, *MIME_VISUAL_TASKS)}
"""The tasks that are seen through a camera, by name. They show images, so they are used like a user-supplied environment."""


def find_visual(name: str) -> VisualTask | None:
    """Return the visual task of a name or a Gymnasium id; None if there is none."""
    return next((task for task in VISUAL.values() if name in (task.name, task.gymnasium_id)), None)


def check_worlds() -> None:
    """Check that the worlds of the tasks can be made.

    Raises:
        ResidualRLError: the extra `tasks` is not installed.
    """
    need("mujoco", *WORLDS)
    if importlib.util.find_spec("gymnasium_robotics") is None:
        raise missing("gymnasium_robotics", *WORLDS)


def is_task(name: str) -> bool:
    """Return whether a task of the library has this name or Gymnasium id."""
    return name.startswith((WITH_MESHES, FROM_FILES)) or any(name in (task.name, task.gymnasium_id) for task in TASKS.values())


def spec_of(name: str) -> Spec:
    """Return the spec of the task called `name`, without reading any folder of meshes.

    Raises:
        UnknownName: with the names that exist.
    """
    if name.startswith(FROM_FILES):
        return racing_world.SPEC
    return rules.HOOK if name.startswith(WITH_MESHES) else find_task(name).spec


def find_task(name: str) -> Task:
    """Return the task called `name`, or registered with Gymnasium under that id.

    `complex-hook:FOLDER` is ComplexHook with the meshes of a folder as objects; `racing:PATH` is racing on the track in a CSV
    file, or on those in a folder.

    Raises:
        UnknownName: with the names that exist.
        ResidualRLError: the folder has no usable meshes, or a track that cannot be driven.
    """
    if name.startswith(FROM_FILES):
        return racing_on(name.removeprefix(FROM_FILES))
    if name.startswith(WITH_MESHES):
        return _complex_hook_with_meshes(name.removeprefix(WITH_MESHES))
    for task in TASKS.values():
        if name in (task.name, task.gymnasium_id):
            return task
    raise UnknownName("task", name, TASKS)
