"""An environment and a controller that somebody brings: looked at once, described in the run, the same ever after."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl import storage
from residual_rl.controllers.adapted import Adapted, Character
from residual_rl.controllers.controller import Controller
from residual_rl.controllers.probe import advice, character_of, ignores_goal, judged_by_episodes, one_to_try
from residual_rl.controllers.resolve import resolve
from residual_rl.custom.goals import find_rules, goals_of, is_sparse
from residual_rl.custom.opened import Opened
from residual_rl.custom.task import Findings
from residual_rl.errors import ControllerError, RunError, WorldError
from residual_rl.residual import Composition
from residual_rl.rollout import Episode, collect
from residual_rl.seeds import Purpose
from residual_rl.spaces import GOAL_KEYS, Layout
from residual_rl.tasks.lanes import Lanes
from residual_rl.types import Observation, Spec, Transition, map_observation

LOOKED_AT = 400  # steps of the base
MOST_EPISODES = 4  # for that, of one lane
QUIET = 0.1  # a root mean square of rewards below this is scaled up


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Description:
    """All that a run needs to know about an environment, and about its controller: `environment.json`."""

    task: str
    layout: Layout
    horizon: Annotated[int, Field(ge=1)]
    findings: Findings
    character: Character | None
    """None for a controller of the library, which speaks its language."""

    @property
    def spec(self) -> Spec:
        """What a learner knows of it."""
        reward_range = (-1.0, 0.0) if self.findings.sparse else (-np.inf, np.inf)
        layout = self.layout
        return Spec(layout.observation_size, layout.goal_size, layout.action_size, self.horizon, reward_range)

    def to_json(self) -> dict[str, Any]:
        """The description as plain JSON values."""
        return storage.to_json(self)


def description_from(values: Any, source: str) -> Description:
    """What `to_json` wrote.

    Raises:
        RunError: it is damaged; names `source`.
    """
    return storage.record_of(Description, values, source)


def look(opened: Opened, controller: Any, tell: Callable[[str], None]) -> Description:
    """Runs a few episodes of the controller alone, and describes what was seen.

    Raises:
        ControllerError: the controller cannot be asked, not so that it is right, or in none of the first episodes to its end.
        WorldError: the environment fails in its first episodes.
    """
    brought = resolve(controller, opened.spec)
    name, controller = brought.name, brought.controller
    if brought.traits.reads_state:
        raise ControllerError(f"{name!r} reads the simulator's state, which {opened.name} does not show")
    lanes, layout = opened.few_lanes(), opened.layout
    first, second, again = (_start(opened, lanes, number) for number in (0, 1, 0))
    if not all(np.array_equal(first[key], again[key]) for key in GOAL_KEYS):
        tell(
            f"{opened.name}: reset(seed=...) does not decide how an episode starts, so base and policy will not be compared "
            "from the same starts, and no run can be repeated; `super().reset(seed=seed)` and `self.np_random` do that"
        )
    character = None
    tried = brought
    if brought.is_users:
        starts = map_observation(lambda *arrays: np.concatenate(arrays), first, second)
        character = character_of(controller, layout, starts, opened.fixed_lanes, tell)
        tried = replace(brought, controller=one_to_try(controller, character))
    base = tried.fitted(layout, character).controller
    episodes = _first_episodes(opened, lanes, base)
    steps = [episode.transitions for episode in episodes]
    if character is not None and isinstance(base, Adapted):
        seen = map_observation(lambda *arrays: np.concatenate(arrays), *(one.observation for one in steps))
        if character.reads_goal and character.asked_again and not hasattr(controller, "reads_goal"):
            character = replace(character, reads_goal=not ignores_goal(base, seen))
        character = judged_by_episodes(base, character, seen, np.concatenate([one.base_action for one in steps]), tell)
        tell(f"{name}: {character}")
        if slow := advice(controller, character, opened.fixed_lanes):
            tell(slow)
    succeeded = [episode.success for episode in episodes] if lanes.tells_success else None
    if succeeded is None:
        tell(f"{opened.name}: judged by its return, because the first episodes did not tell info['is_success']")
    rules, why = find_rules(opened.one, layout, steps, succeeded) if layout.goal else (None, "")
    if why:
        tell(f"{opened.name}: no hindsight, because {why}")
    sparse = rules is not None and is_sparse(goals_of(opened.one, layout, rules), steps)
    findings = Findings(
        measured_by="return" if succeeded is None else "success",
        reward_scale=reward_scale(np.concatenate([one.reward for one in steps])),
        sparse=sparse,
        episode_steps=float(np.mean([len(one.reward) for one in steps])),
        goal_rules=rules,
        # Values of sparse rewards are bounded where they are.
        usual_value=0.0 if sparse else usual_value(steps, opened.spec.discount),
    )
    return Description(opened.name, layout, opened.horizon, findings, character)


def same_environment(there: Description, opened: Opened, path: Any) -> None:
    """Checks that a run is continued in the environment in which it began.

    Raises:
        RunError: it is another one.
    """
    pairs = {
        "task": (there.task, opened.name),
        "horizon": (there.horizon, opened.horizon),
        "spaces": (there.layout, opened.layout),
    }
    for what, (before, now) in pairs.items():
        if before != now:
            raise RunError(f"{path} was written in another environment: its {what} was {before}, not {now}")


def reward_scale(rewards: np.ndarray) -> float:
    """What makes the root mean square of a base's rewards `[N]` about 1, in two digits; 1 where they lie in [-1, 1] anyway."""
    size = float(np.sqrt(np.mean(np.square(rewards))))
    if size == 0.0 or (size >= QUIET and np.abs(rewards).max() <= 1.0):
        return 1.0
    return float(f"{1.0 / size:.1e}")


def usual_value(episodes: Sequence[Transition], discount: float) -> float:
    """The mean discounted sum of the rewards that follow a step of these episodes `[T]` each, in two digits.

    What follows beyond a time limit is worth as much again. Values far from zero are learned late, and a cautious target is
    off by more the farther they are: less this, they are near zero.
    """
    sums, tails = [], []
    for episode in episodes:
        following, tail = 0.0, float(not episode.terminated[-1])
        for reward in episode.reward[::-1]:
            following, tail = float(reward) + discount * following, discount * tail
            sums.append(following)
            tails.append(tail)
    return float(f"{np.mean(sums) / (1.0 - np.mean(tails)):.1e}")


def _start(opened: Opened, lanes: Lanes, number: int) -> Observation:
    """What the start of an episode shows in each lane."""
    observation, info = lanes.reset(seed=[Purpose.PROBE + number + lane for lane in range(lanes.num_envs)])
    if info.get("errors"):
        raise WorldError(f"{opened.name}: {next(iter(info['errors'].values()))}")
    if not np.isfinite(np.concatenate([observation["observation"], observation["desired_goal"]], axis=1)).all():
        raise WorldError(f"{opened.name}: what reset shows is not finite")
    return map_observation(np.copy, observation)


def _first_episodes(opened: Opened, lanes: Lanes, base: Controller) -> list[Episode]:
    episodes: list[Episode] = []
    reasons: list[str] = []
    for number in range(MOST_EPISODES):
        seeds = [Purpose.PROBE + number * lanes.num_envs + lane for lane in range(lanes.num_envs)]
        found, dropped = collect(lanes, base, Composition(), lambda _, base_action, step: np.zeros_like(base_action), seeds)
        episodes += found
        reasons += dropped
        if sum(len(episode.transitions.reward) for episode in episodes) >= LOOKED_AT:
            break
    if not episodes:
        raise WorldError(f"{opened.name} fails in its first episodes: {reasons[0]}")
    return episodes
