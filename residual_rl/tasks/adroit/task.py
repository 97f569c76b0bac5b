"""The Adroit tasks from state: each with a sparse reward, with one for every step, and with the published dense one."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from residual_rl.optional import WORLDS, need
from residual_rl.tasks import ending
from residual_rl.tasks.ending import EndingTask
from residual_rl.tasks.view import ADROIT
from residual_rl.tasks.visual import VisualTask
from residual_rl.types import Spec

SPECS = {
    "door": Spec(observation_size=39, goal_size=0, action_size=28, horizon=200),
    "hammer": Spec(observation_size=46, goal_size=0, action_size=26, horizon=200),
    "pen": Spec(observation_size=45, goal_size=0, action_size=24, horizon=100),
    "relocate": Spec(observation_size=39, goal_size=0, action_size=30, horizon=200),
}
"""Specs by task, without the range of rewards. They stand here because no simulator is needed to read them."""
PROPRIOCEPTION = {"door": 100, "hammer": 98, "pen": 72, "relocate": 54}
"""Entries of the hand's own sensors."""
RATE = 100.0
"""Hz"""
SUMMARIES = {
    "door": "turn a latch and pull a door open with the Adroit hand, from state",
    "hammer": "drive a nail into a board with the Adroit hand, from state",
    "pen": "turn a pen on the palm of the Adroit hand until it points as it should, from state",
    "relocate": "carry a ball to a place in the air with the Adroit hand, from state",
}
REWARDS = {
    "": ("", "", ending.reward_success, (0.0, 1.0)),
    "-time": ("Time", ", rewarded with -1 a step until it succeeds", ending.reward_time, (-1.0, 0.0)),
    "-dense": ("Dense", ", with the published dense reward", ending.reward_shaped, (-np.inf, np.inf)),
}
"""By the ending of a task's name: that of its Gymnasium id, its summary, the reward and its range."""


def _world(task: str) -> Callable[[int | None], Any]:
    return lambda num_threads: getattr(need(f"residual_rl.tasks.adroit.{task}", *WORLDS), f"{task.title()}World")(num_threads)


def _tasks() -> Iterator[EndingTask]:
    for name, spec in SPECS.items():
        for suffix, (of_id, addition, reward, reward_range) in REWARDS.items():
            yield EndingTask(
                name=f"{name}-state{suffix}",
                summary=SUMMARIES[name] + addition,
                gymnasium_id=f"residual_rl/{name.title()}State{of_id}-v0",
                spec=spec._replace(reward_range=reward_range),
                default_controller="zero",
                make_world=_world(name),
                reward=ending.no_goal(reward),
                success=ending.no_success,
                view=ADROIT,
                step_reward=reward,
            )


def _visual_tasks() -> Iterator[VisualTask]:
    for name, spec in SPECS.items():
        yield VisualTask(
            name=name,
            summary=SUMMARIES[name].removesuffix(", from state") + ", seen through a camera",
            gymnasium_id=f"residual_rl/{name.title()}-v0",
            spec=spec._replace(reward_range=(0.0, 1.0)),
            state_task=f"{name}-state",
            make_world=_world(name),
            rate=RATE,
        )


ADROIT_TASKS = tuple(_tasks())
VISUAL_TASKS = tuple(_visual_tasks())
