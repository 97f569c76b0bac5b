"""A user-supplied environment and controller: looked at once, described in the run, the same ever after."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from residual_rl.controllers.adapted import Adapted
from residual_rl.controllers.probe import advice, character_of, ignores_goal, judged_by_episodes, one_to_try
from residual_rl.controllers.resolve import resolve
from residual_rl.custom.description import Description, Findings
from residual_rl.custom.first_episodes import Seen, disturbed, horizon_of, looks_like_a_time_limit, undisturbed
from residual_rl.custom.goals import find_rules, goals_of, is_sparse
from residual_rl.custom.opened import Opened
from residual_rl.custom.rewards import reward_scale, usual_value
from residual_rl.custom.sources import ForeignLanes
from residual_rl.custom.success import LAST, ONCE
from residual_rl.errors import ControllerError, RunError, WorldError
from residual_rl.residual import Composition
from residual_rl.seeds import Purpose
from residual_rl.spaces import GOAL_KEYS, Layout
from residual_rl.types import Observation, Transition, map_observation
from residual_rl.units import Units, units_of


def look(
    opened: Opened,
    controller: Any,
    tell: Callable[[str], None],
    success: str = LAST,
    composition: Composition | None = None,
) -> Description:
    """Run a few episodes of the controller alone, and describe what was seen.

    Args:
        opened: the environment.
        controller: the controller, or the base that it was resolved to.
        tell: receives lines about what was found.
        success: which steps decide whether an episode is a success.
        composition: how a residual will be added, for a few more episodes with its noise; None if none will be learned.

    Raises:
        ControllerError: the controller cannot be asked, not so that it is right, or in none of the first episodes to its end.
        WorldError: the environment fails in its first episodes.
        ResidualRLError: nothing shows how long episodes last.
    """
    brought = opened.seen_by(resolve(controller, opened.spec))
    name, controller = brought.name, brought.controller
    if brought.traits.reads_state:
        raise ControllerError(f"{name!r} reads the simulator's state, which {opened.name} does not show")
    if wrapper := opened.running_statistics:
        tell(
            f"{opened.name}: {wrapper} changes its statistics with every step, so the same state or reward does not stay the "
            "same; leave it out (observations and rewards are centred and scaled here), or set update_running_mean = False"
        )
    lanes, layout, shown_to_base = opened.few_lanes(success), opened.layout, brought.layout_in(opened.layout)
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
        character = character_of(controller, shown_to_base, starts, opened.fixed_lanes, tell)
        if shown_to_base.encoded is not None:  # what it is shown is not stored
            character = replace(character, asked_again=False)
        tried = replace(brought, controller=one_to_try(controller, character))
    base = tried.fitted(layout, character).controller
    seen = undisturbed(opened, lanes, base)
    steps = seen.steps
    if character is not None and isinstance(base, Adapted):
        observed = map_observation(lambda *arrays: np.concatenate(arrays), *(one.observation for one in steps))
        if character.reads_goal and character.asked_again and not hasattr(controller, "reads_goal"):
            character = replace(character, reads_goal=not ignores_goal(base, observed))
        if shown_to_base.encoded is None:
            character = judged_by_episodes(base, character, observed, np.concatenate([one.base_action for one in steps]), tell)
        tell(f"{name}: {character}")
        if slow := advice(controller, character, opened.fixed_lanes):
            tell(slow)
    others = [] if composition is None else disturbed(lanes, base, composition)
    horizon = horizon_of(opened.name, opened.horizon, steps, tell)
    if looks_like_a_time_limit(steps + others):
        length = len(steps[0].reward)
        tell(
            f"{opened.name}: every first episode ended with `terminated` at step {length:,}. If that is a time limit, return "
            "`truncated` instead: what follows `terminated` is worth nothing, which cannot be learned if no time is shown"
        )
    if lanes.tells_success:
        _tell_success(opened.name, seen, success, tell)
    else:
        tell(f"{opened.name}: judged by its return, because the first episodes did not tell info['is_success']")
    succeeded = seen.last if lanes.tells_success else None
    rules, why = find_rules(opened.one, layout, steps, succeeded) if layout.goal else (None, "")
    if why:
        tell(f"{opened.name}: no hindsight, because {why}")
    sparse = rules is not None and is_sparse(goals_of(opened.one, layout, rules), steps)
    discount = opened.spec._replace(horizon=horizon).discount
    # Values of sparse rewards are bounded, and have their size, as they are.
    usual = 0.0 if sparse else usual_value(steps, discount)
    findings = Findings(
        measured_by="success" if lanes.tells_success else "return",
        reward_scale=1.0 if sparse else reward_scale(steps + others, usual, discount),
        sparse=sparse,
        episode_steps=float(np.mean([len(one.reward) for one in steps])),
        goal_rules=rules,
        usual_value=usual,
    )
    layout = replace(layout, units=_units(layout, steps + others))
    return Description(opened.name, layout, horizon, findings, character, success)


def same_environment(there: Description, opened: Opened, path: Any, success: str | None = None) -> None:
    """Checks that a run is continued in the environment in which it began.

    Raises:
        RunError: it is another one, or success is decided otherwise.
    """
    pairs = {
        "task": (there.task, opened.name),
        "horizon": (there.horizon, opened.horizon or there.horizon),
        "spaces": (replace(there.layout, units=None), opened.layout),
        "rule of success": (there.success, success or there.success),
    }
    for what, (before, now) in pairs.items():
        if before != now:
            raise RunError(f"{path} was written in another environment: its {what} was {before}, not {now}")


def _tell_success(name: str, seen: Seen, success: str, tell: Callable[[str], None]) -> None:
    last, once, episodes = sum(seen.last), sum(seen.once), len(seen.last)
    if last == once and success == LAST:
        return
    hint = f'; if any step should count, pass success="{ONCE}", or "held:N" for N steps in a row' if success == LAST else ""
    tell(
        f"{name}: of its first {episodes} episodes {last} are a success at the last step, {once} at some step; "
        f'success="{success}" decides{hint}'
    )


def _units(layout: Layout, episodes: Sequence[Transition]) -> Units:
    """The units in which the learner sees what these episodes `[T]` showed; achieved and desired goals share theirs."""

    def shown(key: str) -> np.ndarray:
        arrays = [part for one in episodes for part in (one.observation[key], one.next_observation[key][-1:])]
        return np.concatenate(arrays)

    goals = np.concatenate([shown("achieved_goal"), shown("desired_goal")])
    of_observation, of_goal = np.split(layout.precision, [layout.observation_size])
    parts = units_of(shown("observation"), of_observation), units_of(goals, of_goal)
    centre, scale = (np.concatenate([part[index] for part in parts]).tolist() for index in (0, 1))
    return Units(tuple(centre), tuple(scale))


def _start(opened: Opened, lanes: ForeignLanes, number: int) -> Observation:
    """What the start of an episode shows in each lane."""
    observation, info = lanes.reset(seed=[Purpose.PROBE + number + lane for lane in range(lanes.num_envs)])
    if info.get("errors"):
        raise WorldError(f"{opened.name}: {next(iter(info['errors'].values()))}")
    rows = np.concatenate([observation[key] for key in GOAL_KEYS], axis=1)
    if not np.isfinite(rows).all():
        lane, column = np.argwhere(~np.isfinite(rows))[0]
        raise WorldError(
            f"{opened.name}: what reset shows is not finite: {opened.layout.name_of(int(column))} is {rows[lane, column]}"
        )
    return map_observation(np.copy, observation)
