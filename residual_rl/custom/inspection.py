"""Inspect a user-supplied environment and controller once; the run keeps the description."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from residual_rl.controllers.adapted import Adapted
from residual_rl.controllers.probe import advice, can_start, character_of, ignores_goal, judged_by_episodes, one_to_try
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
from residual_rl.types import Observation, Transition, map_observation, select
from residual_rl.units import Units, units_of

MOST_STARTS = 12  # at which a controller is asked, if it has no action for the first ones


def look(
    opened: Opened,
    controller: Any,
    tell: Callable[[str], None],
    success: str = LAST,
    composition: Composition | None = None,
) -> Description:
    """Run a few episodes of the controller alone, and describe environment and controller.

    Args:
        opened: the environment.
        controller: the controller, or its resolved base.
        tell: called with a line for each property found.
        success: which steps decide whether an episode is a success.
        composition: of the residual, for a few more episodes with its noise; None if no residual will be learned.

    Raises:
        ControllerError: the controller fails, its actions do not fit, or it completes none of the first episodes.
        WorldError: the environment fails in its first episodes.
        ResidualRLError: nothing shows how long episodes last.
    """
    supplied = opened.seen_by(resolve(controller, opened.spec))
    name, controller = supplied.name, supplied.controller
    if supplied.traits.reads_state:
        raise ControllerError(f"{name!r} reads the simulator's state, which {opened.name} does not show")
    if wrapper := opened.running_statistics:
        tell(
            f"{opened.name}: {wrapper} changes its statistics with every step, so the same state or reward does not stay the "
            "same; leave it out (observations and rewards are centred and scaled here), or set update_running_mean = False"
        )
    lanes, layout, shown_to_base = opened.few_lanes(success), opened.layout, supplied.layout_in(opened.layout)
    first, second, again = (_start(opened, lanes, number) for number in (0, 1, 0))
    if not all(np.array_equal(first[key], again[key]) for key in GOAL_KEYS):
        tell(
            f"{opened.name}: reset(seed=...) does not decide how an episode starts, so base and policy will not be compared "
            "from the same starts, and no run can be repeated; `super().reset(seed=seed)` and `self.np_random` do that"
        )
    character = None
    tried = supplied
    if supplied.is_users:
        starts = map_observation(lambda *arrays: np.concatenate(arrays), first, second)
        try:
            character = character_of(controller, shown_to_base, starts, opened.fixed_lanes, tell)
        except ControllerError:  # perhaps it is a planner that finds no plan for these starts
            others = _with_an_answer(opened, lanes, controller, [first, second])
            if others is None:
                raise
            character = character_of(controller, shown_to_base, others, opened.fixed_lanes, tell)
        if shown_to_base.encoded is not None:  # what it is shown is not stored
            character = replace(character, can_be_requeried=False)
        tried = replace(supplied, controller=one_to_try(controller, character))
    base = tried.fitted(layout, character).controller
    seen = undisturbed(opened, lanes, base)
    steps = seen.steps
    if character is not None and isinstance(base, Adapted):
        observed = map_observation(lambda *arrays: np.concatenate(arrays), *(one.observation for one in steps))
        if character.reads_goal and character.can_be_requeried and not hasattr(controller, "reads_goal"):
            character = replace(character, reads_goal=not ignores_goal(base, observed))
        if shown_to_base.encoded is None:
            character = judged_by_episodes(base, character, observed, np.concatenate([one.base_action for one in steps]), tell)
        tell(f"{name}: {character}")
        if slow := advice(controller, character, opened.fixed_lanes):
            tell(slow)
    noisy = [] if composition is None else disturbed(lanes, base, composition)
    horizon = horizon_of(opened.name, opened.horizon, steps, tell)
    if looks_like_a_time_limit(steps + noisy):
        length = len(steps[0].reward)
        tell(
            f"{opened.name}: every first episode ended with `terminated` at step {length:,}. If that is a time limit, return "
            "`truncated` instead: what follows `terminated` is worth nothing, which cannot be learned if no time is shown"
        )
    if lanes.tells_success:
        _tell_success(opened.name, seen, success, tell)
    else:
        tell(f"{opened.name}: judged by its return, because the first episodes did not report info['is_success']")
    succeeded = seen.last if lanes.tells_success else None
    rules, why = find_rules(opened.one, layout, steps, succeeded) if layout.goal else (None, "")
    if why:
        tell(f"{opened.name}: no hindsight, because {why}")
    sparse = rules is not None and is_sparse(goals_of(opened.one, layout, rules), steps)
    discount = opened.spec._replace(horizon=horizon).discount
    # Sparse rewards need no scaling: their values are bounded and of moderate size.
    usual = 0.0 if sparse else usual_value(steps, discount)
    findings = Findings(
        measured_by="success" if lanes.tells_success else "return",
        reward_scale=1.0 if sparse else reward_scale(steps + noisy, usual, discount),
        sparse=sparse,
        episode_steps=float(np.mean([len(one.reward) for one in steps])),
        goal_rules=rules,
        usual_value=usual,
    )
    layout = replace(layout, units=_units(layout, steps + noisy))
    return Description(opened.name, layout, horizon, findings, character, success)


def same_environment(there: Description, opened: Opened, path: Any, success: str | None = None) -> None:
    """Check that a run resumes in the environment in which it began.

    Raises:
        RunError: it is another one, or the rule of success differs.
    """
    pairs = {
        "task": (there.task.rpartition(":")[2], opened.name.rpartition(":")[2]),  # an id with the module that registers it
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
    """Return the units in which the learner sees observations, from episodes `[T]`; both goals share theirs."""

    def shown(key: str) -> np.ndarray:
        arrays = [part for one in episodes for part in (one.observation[key], one.next_observation[key][-1:])]
        return np.concatenate(arrays)

    goals = np.concatenate([shown("achieved_goal"), shown("desired_goal")])
    of_observation, of_goal = np.split(layout.precision, [layout.observation_size])
    parts = units_of(shown("observation"), of_observation), units_of(goals, of_goal)
    centre, scale = (np.concatenate([part[index] for part in parts]).tolist() for index in (0, 1))
    return Units(tuple(centre), tuple(scale))


def _with_an_answer(opened: Opened, lanes: ForeignLanes, controller: Any, starts: list[Observation]) -> Observation | None:
    """Return starts of episodes `[N]` for which a controller has an action: given ones or others; None if there are none."""
    for number in range(MOST_STARTS):
        shown = starts[number] if number < len(starts) else _start(opened, lanes, number)
        answered = can_start(controller, opened.layout, shown)
        if answered.any():
            return select(shown, np.flatnonzero(answered))
    return None


def _start(opened: Opened, lanes: ForeignLanes, number: int) -> Observation:
    """Return the first observation of an episode in each lane."""
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
