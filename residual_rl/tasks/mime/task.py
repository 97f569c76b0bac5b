"""The Mime tasks: from state, and seen through a depth camera."""

from collections.abc import Callable, Iterator
from typing import Any

from residual_rl.optional import WORLDS, need
from residual_rl.tasks import ending
from residual_rl.tasks.ending import EndingTask
from residual_rl.tasks.view import MIME
from residual_rl.tasks.visual import VisualTask
from residual_rl.types import Spec

SPECS = {
    "pick": Spec(observation_size=11, goal_size=0, action_size=4, horizon=200, reward_range=(0.0, 1.0), world="mime-pick"),
    "bowl": Spec(observation_size=14, goal_size=0, action_size=4, horizon=600, reward_range=(0.0, 1.0), world="mime-bowl"),
    "place-push": Spec(
        observation_size=11, goal_size=0, action_size=4, horizon=400, reward_range=(0.0, 1.0), world="mime-place-push"
    ),
}
RATE = 10.0
"""Hz"""
SUMMARIES = {
    "pick": "pick a cube up with an arm and a three-finger gripper",
    "bowl": "carry a cube into a bowl with an arm and a three-finger gripper",
    "place-push": "push a cube to its place with an arm",
}
IDS = {"pick": "MimePick", "bowl": "MimeBowl", "place-push": "MimePush"}


def _world(task: str) -> Callable[[int | None], Any]:
    return lambda num_threads: need("residual_rl.tasks.mime.world", *WORLDS).MimeWorld(task, num_threads)


def _tasks() -> Iterator[EndingTask]:
    for name, spec in SPECS.items():
        yield EndingTask(
            name=f"{name}-state",
            summary=f"{SUMMARIES[name]}, from state",
            gymnasium_id=f"residual_rl/{IDS[name]}State-v0",
            spec=spec,
            default_controller=f"script-{name}",
            make_world=_world(name),
            reward=ending.no_goal(ending.reward_success),
            success=ending.no_success,
            view=MIME,
        )


def _visual_tasks() -> Iterator[VisualTask]:
    for name, spec in SPECS.items():
        yield VisualTask(
            name=name,
            summary=f"{SUMMARIES[name]}, seen through a depth camera",
            gymnasium_id=f"residual_rl/{IDS[name]}-v0",
            spec=spec,
            state_task=f"{name}-state",
            make_world=_world(name),
            rate=RATE,
        )


MIME_TASKS = tuple(_tasks())
MIME_VISUAL_TASKS = tuple(_visual_tasks())
