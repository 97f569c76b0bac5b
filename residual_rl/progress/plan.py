"""The cost of a run: steps of training, evaluations and verdict, and an estimate of their duration."""

import math
import statistics
from typing import NamedTuple

from residual_rl.config import Config
from residual_rl.presets import judging_steps

UNTIMED_CYCLES = 2  # at the start of a process: they compile
RECENT_CYCLES = 20  # that estimate the speed of the rest, by the median, since a later cycle can compile too


class Plan(NamedTuple):
    """The cost of a run, in environment steps."""

    steps: int
    """Of training."""
    evaluations: int
    """Number of evaluations, including that of the untrained policy."""
    evaluation_episodes: int
    verdict_episodes: int
    """Of base and policy each."""
    episode_steps: float
    """Mean length of an episode of the base."""
    evaluation_steps: int
    verdict_steps: int

    def __str__(self) -> str:
        evaluations, verdict = rounded_steps(self.evaluation_steps), rounded_steps(self.verdict_steps)
        return (
            f"plan: {self.steps:,} training steps; "
            f"{self.evaluations} evaluations of {self.evaluation_episodes} episodes, about {evaluations:,} steps; "
            f"verdict on {self.verdict_episodes} pairs of episodes, about {verdict:,} steps"
        )


def plan_of(config: Config, episode_steps: float) -> Plan:
    """Return the plan of a whole run, if the policy's episodes are as long as the base's."""
    judging = judging_steps(config, episode_steps)
    return Plan(
        steps=config.steps,
        evaluations=1 + math.ceil(config.steps / config.evaluation_interval),
        evaluation_episodes=config.evaluation_episodes,
        verdict_episodes=config.verdict_episodes,
        episode_steps=episode_steps,
        evaluation_steps=judging.evaluations,
        verdict_steps=judging.verdict,
    )


class Clock:
    """Estimate the remaining time of a run from the duration of its parts in this process."""

    def __init__(self, plan: Plan, interval: int):
        self.plan = plan
        self.interval = interval
        self._cycles: list[tuple[int, float]] = []
        self._evaluation: float | None = None

    def add_cycle(self, steps: int, seconds: float) -> None:
        """Record a cycle of training."""
        self._cycles.append((steps, seconds))

    def add_evaluation(self, seconds: float) -> None:
        """Record an evaluation. Later ones are assumed to take as long as the latest."""
        self._evaluation = seconds

    @property
    def steps_per_second(self) -> float | None:
        """Return the training steps per second; None while the first cycles compile."""
        timed = self._cycles[UNTIMED_CYCLES:][-RECENT_CYCLES:]
        speeds = [steps / seconds for steps, seconds in timed if seconds > 0]
        return statistics.median(speeds) if speeds else None

    def seconds_left(self, step: int) -> float | None:
        """Return the seconds until the verdict; None while they cannot be estimated."""
        speed = self.steps_per_second
        if speed is None or self._evaluation is None:
            return None
        steps = max(0, self.plan.steps - step)
        evaluations = math.ceil(steps / self.interval)
        verdict = 2 * self.plan.verdict_episodes / self.plan.evaluation_episodes
        return steps / speed + (evaluations + verdict) * self._evaluation


def rounded_steps(steps: int) -> int:
    """Round a number of steps to two significant digits."""
    return int(float(f"{steps:.1e}"))


def duration(seconds: float) -> str:
    """Format a duration: `40 s`, `6 min`, `1 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
