"""Methods and presets, and how a preset's settings follow the length of episodes and the budget.

The presets are for episodes of 50 steps. Longer episodes keep the same number of updates for each step, and the same number of
burn-in steps; a cycle has fewer of them. With fewer parallel environments than episodes per cycle, a cycle gets shorter but
keeps its number of updates, so there are more updates per step and fewer burn-in steps.

Judging costs at most as many steps as training. The verdict may take half as many steps as the budget, base and policy
together, and the evaluations the rest. An evaluation or a verdict never has more episodes than the preset's, and
never fewer than `FEWEST`. See `judging`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from residual_rl import storage
from residual_rl.config import Config, changed
from residual_rl.errors import ResidualRLError, UnknownName
from residual_rl.learning.algorithm import Algorithm
from residual_rl.learning.burn_in import FixedBurnIn
from residual_rl.learning.ddpg import DDPG
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.learning.hindsight import Hindsight
from residual_rl.tasks.task import Task

EPISODE_STEPS = 50  # the episode length for which the presets are tuned
LONGEST_CYCLE = 1600  # steps, if more than one episode fits into it
EVALUATIONS = 10  # in a run, if judging has to be reduced to fit the budget
ROLLOUTS_AT_START = 2  # the base, and the policy before any update, which is the base again
DIAGNOSED_EPISODES = 20  # of the base at the end of training, for the doctor; fewer if an evaluation has fewer
PACED = ("episodes_per_cycle", "updates_per_cycle", "evaluation_episodes", "evaluation_interval", "verdict_episodes")
BENCH_EPISODES = {"evaluation_episodes": 4, "verdict_episodes": 48}
BENCH_EVALUATIONS = 4  # in a run, besides the first one
FEWEST = {"evaluation_episodes": 5, "verdict_episodes": 10}

METHODS = {
    "rpl": "learn a residual over the controller",
    "scratch": "learn without a controller: the same code over Zero",
    "expert-explore": "learn from scratch, while in a share of the training steps the controller acts; preset silver2018",
}

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": (
        "the recommended learner: the residual acts only if the critics agree that it beats the base",
        {"algorithm": GatedDDPG(), "hindsight": Hindsight(keep_achieved_ratio=0.25), "updates_per_cycle": 320},
    ),
    "silver2018": (
        "DDPG + HER as published with Silver et al. 2018, in one process",
        {
            "algorithm": DDPG(),
            "hindsight": Hindsight(keep_achieved_ratio=1.0),
            "episodes_per_cycle": 8,
            "updates_per_cycle": 40,
            "overlap": False,
        },
    ),
}
"""Name: a one-line description, and the fields that it sets. Everything else is the default of `Config`."""


def make_config(preset: str = "default", **fields: Any) -> Config:
    """Return a configuration from a preset and the fields that differ from it.

    A field of a part is named by its path: `make_config("default", task=..., controller=..., **{"algorithm.pessimism": 0.5})`.

    Raises:
        UnknownName: no such preset, method or path.
        ResidualRLError: a field's value is out of range, or a controller does not go with the method; the message names the
            field and the value.
    """
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    if fields.get("method", "rpl") not in METHODS:
        raise UnknownName("method", fields["method"], METHODS)
    paths = {name: fields.pop(name) for name in list(fields) if "." in name}
    fields = PRESETS[preset][1] | fields
    try:
        config = Config(preset=preset, **fields)
    except ValidationError as error:
        raise ResidualRLError(storage.explained(error)) from error
    config = replace(config, algorithm=_for_method(config.algorithm, config.method))
    if config.method == "scratch" and config.controller != "zero":
        raise ResidualRLError(
            f"method 'scratch' learns without a controller, not over {config.controller!r}; use method 'rpl' to improve one"
        )
    return changed(config, paths) if paths else config


def _for_method(algorithm: Algorithm, method: str) -> Algorithm:
    """Return the algorithm as it learns by a method. Raises ResidualRLError if it cannot."""
    if method in algorithm.methods:
        return algorithm.for_method(method)
    able = [name for name, (_, fields) in PRESETS.items() if method in fields["algorithm"].methods]
    raise ResidualRLError(
        f"algorithm {algorithm.name!r} has no method {method!r}: it needs preset {' or '.join(map(repr, able))}"
    )


class JudgingSteps(NamedTuple):
    """The cost of judging, in environment steps."""

    evaluations: int
    """For the evaluations that select the policy, the base's from the same initial states, and the base's for the doctor."""
    verdict: int
    """For base and policy together."""

    @property
    def total(self) -> int:
        """Both."""
        return self.evaluations + self.verdict


def judging_steps(config: Config, episode_steps: float) -> JudgingSteps:
    """Return the cost of a run's evaluations and verdict, for episodes of this mean length."""
    rollouts = ROLLOUTS_AT_START + math.ceil(config.steps / config.evaluation_interval)
    evaluations = rollouts * config.evaluation_episodes + min(DIAGNOSED_EPISODES, config.evaluation_episodes)
    return JudgingSteps(round(evaluations * episode_steps), round(2 * config.verdict_episodes * episode_steps))


def judging(steps: int, episode_steps: float, usual: Mapping[str, int]) -> dict[str, int]:
    """Return fields of `Config` with which evaluations and verdict cost no more than the training.

    The verdict may take half of the budget, the evaluations the rest. If the usual evaluations cost more than that, there are
    fewer of them, but not fewer than `EVALUATIONS`; if these still cost more, each has fewer episodes, and finally there are
    fewer evaluations. With a budget of very few episodes, `FEWEST` can cost more than the training.

    Args:
        steps: the budget.
        episode_steps: mean length of an episode.
        usual: the fields for a budget that is large enough.
    """
    budget = steps / episode_steps  # in episodes
    judged = _between(FEWEST["verdict_episodes"], budget // 4, usual["verdict_episodes"])
    budget = max(0.0, budget - 2 * judged)
    most, count = usual["evaluation_episodes"], math.ceil(steps / usual["evaluation_interval"])
    count = min(count, max(EVALUATIONS, int((budget - DIAGNOSED_EPISODES) // most) - ROLLOUTS_AT_START))
    rollouts = ROLLOUTS_AT_START + count
    # The doctor uses as many episodes as an evaluation, up to `DIAGNOSED_EPISODES`.
    each = max((budget - DIAGNOSED_EPISODES) // rollouts, min(budget // (rollouts + 1), DIAGNOSED_EPISODES))
    evaluated = _between(FEWEST["evaluation_episodes"], each, most)
    affordable = int((budget - min(DIAGNOSED_EPISODES, evaluated)) // evaluated) - ROLLOUTS_AT_START
    return {
        "evaluation_episodes": evaluated,
        "evaluation_interval": max(usual["evaluation_interval"], math.ceil(steps / max(1, min(count, affordable)))),
        "verdict_episodes": judged,
    }


def pace(episode_steps: float, lanes: int | None, preset: str, steps: int) -> dict[str, int]:
    """Return fields of `Config` for episodes of this mean length and this budget.

    Args:
        episode_steps: of the base alone.
        lanes: episodes in a cycle; None to choose their number.
        preset: the preset to scale; its burn-in only if its length is fixed.
        steps: the budget.

    Raises:
        UnknownName: no such preset.
    """
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    own = PRESETS[preset][1]
    usual = {name: own.get(name, getattr(Config, name)) for name in PACED}
    lanes = lanes or _between(1, LONGEST_CYCLE / episode_steps, usual["episodes_per_cycle"])
    stretch = max(1.0, lanes * episode_steps / (usual["episodes_per_cycle"] * EPISODE_STEPS))
    fields = {
        "episodes_per_cycle": lanes,
        "updates_per_cycle": round(usual["updates_per_cycle"] * stretch),
        **judging(steps, episode_steps, usual),
    }
    burn_in = own["algorithm"].burn_in
    if isinstance(burn_in, FixedBurnIn):
        fields["algorithm.burn_in.cycles"] = math.ceil(burn_in.cycles / stretch)
        fields["algorithm.burn_in.updates"] = round(burn_in.updates * stretch)
    return fields


def bench_pace(steps: int) -> dict[str, int]:
    """Return fields of `Config` for a single real plant, where every episode costs time: few and short evaluations.

    48 pairs are at least enough for looks after 12 and 24, see `statistics.looks`.
    """
    return BENCH_EPISODES | {"evaluation_interval": max(1, steps // BENCH_EVALUATIONS)}


def paced(config: Config, task: Task, given: Iterable[str]) -> Config:
    """Return the configuration for a built-in task, with the fields that are not `given` adapted to episodes and budget.

    The published preset gets the published values for the task instead.
    """
    fields: dict[str, Any] = dict(task.published)
    if config.preset == "default":
        fields = dict(pace(task.spec.horizon, None, "default", config.steps))
    if config.judging == "bench":
        fields |= bench_pace(config.steps)
    return unless_given(config, fields, given)


def unless_given(config: Config, fields: Mapping[str, Any], given: Iterable[str]) -> Config:
    """Return the configuration with those of the fields that the user has not `given`, by themselves or as part of another."""
    own = {name: value for name, value in fields.items() if not any(name == one or name.startswith(f"{one}.") for one in given)}
    return changed(config, own)


def _between(least: int, value: float, most: int) -> int:
    return min(max(least, round(value)), most)
