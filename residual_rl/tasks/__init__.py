"""The tasks of the library: `TASKS` by name, and `find_task`."""

from dataclasses import replace

from residual_rl.errors import UnknownName
from residual_rl.tasks import block, complex_hook, fetch, hook, noisy_hook, objects, pusher, view
from residual_rl.tasks.racing import world as racing_world
from residual_rl.tasks.racing.task import FROM_FILES, RACING_TASKS, racing_on
from residual_rl.tasks.task import Task
from residual_rl.types import Spec

HOOK = {"episodes_per_cycle": 4, "algorithm.noise": 0.1}
"""Published for all hooks."""
TWO_FRAMES = HOOK | {"algorithm.frames": 2}


def _complex_hook(suffix: str, summary: str, gymnasium_id: str, variant: complex_hook.Variant) -> Task:
    return Task(
        name=f"complex-hook{suffix}",
        summary=summary,
        gymnasium_id=gymnasium_id,
        spec=hook.SPEC,
        default_controller="reactive-hook",
        make_world=lambda num_threads: complex_hook.ComplexHookWorld(variant, num_threads),
        reward=fetch.reward,
        success=fetch.success,
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
        replace(complex_hook.AS_DESCRIBED, shapes=lambda: shapes),
    )


TASKS = {
    task.name: task
    for task in (
        Task(
            name="push",
            summary="push a block across a table to a goal",
            gymnasium_id="residual_rl/Push-v0",
            spec=block.SPEC,
            default_controller="reactive-push",
            make_world=lambda num_threads: block.BlockWorld(block.PUSH, num_threads),
            reward=fetch.reward,
            success=fetch.success,
            view=view.PUSH,
        ),
        Task(
            name="slippery-push",
            summary="push with 0.18 of the friction: a controller tuned for Push overshoots",
            gymnasium_id="residual_rl/SlipperyPush-v0",
            spec=block.SPEC,
            default_controller="reactive-push",
            make_world=lambda num_threads: block.BlockWorld(block.SLIPPERY_PUSH, num_threads),
            reward=fetch.reward,
            success=fetch.success,
            view=view.PUSH,
        ),
        Task(
            name="pick-and-place",
            summary="carry a block to a goal on the table or in the air",
            gymnasium_id="residual_rl/PickAndPlace-v0",
            spec=block.SPEC,
            default_controller="oscillating-pick-and-place",
            make_world=lambda num_threads: block.BlockWorld(block.PICK_AND_PLACE, num_threads),
            reward=fetch.reward,
            success=fetch.success,
            view=view.PICK_AND_PLACE,
        ),
        Task(
            name="mpc-push",
            summary="push with actions times 10, then clipped: as published over DiscreteMPC",
            gymnasium_id="residual_rl/MPCPush-v0",
            spec=block.SPEC,
            default_controller="discrete-mpc",
            make_world=lambda num_threads: block.BlockWorld(block.MPC_PUSH, num_threads),
            reward=fetch.reward,
            success=fetch.success,
            view=view.PUSH,
        ),
        Task(
            name="hook",
            summary="pull a cube out of reach to a goal with a hook",
            gymnasium_id="residual_rl/Hook-v0",
            spec=hook.SPEC,
            default_controller="reactive-hook",
            make_world=lambda num_threads: hook.HookWorld(num_threads),
            reward=fetch.reward,
            success=fetch.success,
            published=HOOK,
            view=view.HOOK,
        ),
        Task(
            name="noisy-hook",
            summary="the same seen through noise, in two frames: the controller misses its grasp",
            gymnasium_id="residual_rl/NoisyHook-v0",
            spec=noisy_hook.SPEC,
            default_controller="reactive-hook",
            make_world=lambda num_threads: noisy_hook.NoisyHookWorld(noisy_hook.AS_RUN, num_threads),
            reward=fetch.reward,
            success=fetch.success,
            published=TWO_FRAMES,
            view=view.HOOK,
        ),
        Task(
            name="noisy-hook-as-described",
            summary="the same with noise on the cube's rotation too, as the paper says, instead of overwriting entries",
            gymnasium_id="residual_rl/NoisyHookAsDescribed-v0",
            spec=noisy_hook.SPEC,
            default_controller="reactive-hook",
            make_world=lambda num_threads: noisy_hook.NoisyHookWorld(noisy_hook.AS_DESCRIBED, num_threads),
            reward=fetch.reward,
            success=fetch.success,
            published=TWO_FRAMES,
            view=view.HOOK,
        ),
        Task(
            name="mbrl-pusher",
            summary="push a cylinder to a goal with an arm of seven joints, for a reward at every step",
            gymnasium_id="residual_rl/MBRLPusher-v0",
            spec=pusher.SPEC,
            default_controller="zero",
            make_world=lambda num_threads: pusher.PusherWorld(pusher.AS_RUN, num_threads),
            reward=pusher.AS_RUN.reward,
            success=pusher.success,
            measured_by="return",
            published={"episodes_per_cycle": 2},
            view=view.PUSHER,
        ),
        Task(
            name="mbrl-pusher-as-described",
            summary="the same, rewarded as the paper words it",
            gymnasium_id="residual_rl/MBRLPusherAsDescribed-v0",
            spec=pusher.SPEC,
            default_controller="zero",
            make_world=lambda num_threads: pusher.PusherWorld(pusher.AS_DESCRIBED, num_threads),
            reward=pusher.AS_DESCRIBED.reward,
            success=pusher.success,
            measured_by="return",
            published={"episodes_per_cycle": 2},
            view=view.PUSHER,
        ),
        _complex_hook(
            "",
            "hook on a bumpy table, with objects of many shapes: 100 fixed scenes",
            "residual_rl/ComplexHook-v0",
            complex_hook.AS_RUN,
        ),
        _complex_hook(
            "-as-described",
            "the same with bumps and an object drawn afresh for each episode",
            "residual_rl/ComplexHookAsDescribed-v0",
            complex_hook.AS_DESCRIBED,
        ),
        _complex_hook(
            "-test",
            "the same with objects that the other tasks never show",
            "residual_rl/ComplexHookTest-v0",
            complex_hook.HELD_OUT,
        ),
        _complex_hook(
            "-published-bumps",
            "the 100 scenes with bumps as high as published, which today's contacts make harder",
            "residual_rl/ComplexHookPublishedBumps-v0",
            complex_hook.PUBLISHED_BUMPS,
        ),
        _complex_hook(
            "-centered-origins",
            "the 100 scenes with every object at its start, none of them out of reach",
            "residual_rl/ComplexHookCenteredOrigins-v0",
            complex_hook.CENTERED_ORIGINS,
        ),
        _complex_hook(
            "-only-bumps",
            "the 100 scenes' bumps with the cube of hook",
            "residual_rl/ComplexHookOnlyBumps-v0",
            complex_hook.ONLY_BUMPS,
        ),
        _complex_hook(
            "-only-objects",
            "the 100 scenes' objects on a table without bumps",
            "residual_rl/ComplexHookOnlyObjects-v0",
            complex_hook.ONLY_OBJECTS,
        ),
        *RACING_TASKS,
    )
}


def is_task(name: str) -> bool:
    """Whether a task of the library has this name or Gymnasium id."""
    return name.startswith((WITH_MESHES, FROM_FILES)) or any(name in (task.name, task.gymnasium_id) for task in TASKS.values())


def spec_of(name: str) -> Spec:
    """What a learner knows about the task called `name`. No folder of meshes is read for it.

    Raises:
        UnknownName: with the names that exist.
    """
    if name.startswith(FROM_FILES):
        return racing_world.SPEC
    return hook.SPEC if name.startswith(WITH_MESHES) else find_task(name).spec


def find_task(name: str) -> Task:
    """The task called `name`, or registered with Gymnasium under that id.

    `complex-hook:FOLDER` is ComplexHook, as described, with the meshes of a folder for objects; `racing:PATH` is racing on the
    track in a CSV file, or on those in a folder.

    Raises:
        UnknownName: with the names that exist.
        ResidualRLError: the folder has no meshes that could be used, or a track that cannot be driven.
    """
    if name.startswith(FROM_FILES):
        return racing_on(name.removeprefix(FROM_FILES))
    if name.startswith(WITH_MESHES):
        return _complex_hook_with_meshes(name.removeprefix(WITH_MESHES))
    for task in TASKS.values():
        if name in (task.name, task.gymnasium_id):
            return task
    raise UnknownName("task", name, TASKS)
