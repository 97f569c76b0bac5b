"""Record episodes, and make the film strips of a report: base and policy from the same initial state."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from residual_rl.controllers import CONTROLLERS, reads_state
from residual_rl.errors import ResidualRLError
from residual_rl.evaluation import MAX_LANES, Act, Outcome, base_alone, evaluation_envs, roll_out
from residual_rl.pictures.rendering import Take, render
from residual_rl.policy import base_plus_residual, restore_residual
from residual_rl.runs.files import ENVIRONMENT, POLICY
from residual_rl.runs.reading import read_kept_base, read_policy, read_verdict
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.tasks import find_task
from residual_rl.tasks.gymnasium_envs import State, World, WorldVectorEnv
from residual_rl.tasks.task import Task
from residual_rl.tasks.view import Color, View
from residual_rl.training.experiment import base_of_run
from residual_rl.types import Measure, Observation

NUM_FRAMES = 6
HEIGHT, WIDTH = 288, 384  # pixels of a frame
BASE_COLOR: Color = (0.84, 0.37, 0.0, 1.0)
POLICY_COLOR: Color = (0.0, 0.45, 0.70, 1.0)


class FilmedEpisode(NamedTuple):
    """One recorded episode."""

    seed: int
    take: Take
    success: bool
    """At the last step."""
    reached: float
    """Steps until the goal was first reached; NaN if it never was."""
    total_reward: float

    def in_words(self, task: Task) -> str:
        """Describe the episode in a few words."""
        if not np.isfinite(self.take.physics).all():
            return "failed, the physics blew up"
        if task.measured_by == "return":
            return f"return {self.total_reward:.1f}"
        if self.success:
            return f"solved, first at the goal at step {self.reached:.0f}"
        centimetres = 100 * np.linalg.norm(self.take.path[-1] - self.take.goal)
        if np.isnan(self.reached):
            return f"failed, ends {centimetres:.0f} cm from the goal"
        return f"failed, passes the goal at step {self.reached:.0f} and ends {centimetres:.0f} cm away"


class Recording(NamedTuple):
    """Episodes that ran in parallel."""

    world: World
    start: State
    physics: np.ndarray
    """[T + 1, E, S]"""
    path: np.ndarray
    """[T + 1, E, G]"""
    goal: np.ndarray
    """[E, G]"""
    outcome: Outcome
    seeds: Sequence[int]
    color: Color

    def episode(self, lane: int) -> FilmedEpisode:
        """Return the episode of one lane."""
        model = self.world.model_of(self.start, lane)
        take = Take(model, self.physics[:, lane], self.goal[lane], self.path[:, lane], self.color)
        success, total_reward, reached, *_ = (values[lane] for values in self.outcome)
        return FilmedEpisode(self.seeds[lane], take, bool(success), float(reached), float(total_reward))


class Row(NamedTuple):
    """One episode of base or policy, as a row of pictures."""

    policy: str
    """"base" or "base + residual"."""
    success: bool | None
    """None if the task is measured by its return."""
    outcome: str
    """The episode in a few words."""
    frames: np.ndarray
    """[F, H, W, 3] uint8"""


class Strip(NamedTuple):
    """Base and policy from one initial state."""

    kind: str
    """"fixed", "kept" or "broken"; if the task is measured by its return, "better" or "worse"."""
    seed: int
    steps: np.ndarray
    """[F] step of each frame."""
    rows: tuple[Row, Row]


def view_of(task: Task) -> View:
    """Return the camera view of a task.

    Raises:
        ResidualRLError: the task has no view, so it cannot be drawn.
    """
    if task.view is None:
        raise ResidualRLError(f"the task {task.name!r} cannot be drawn: it has no `view`")
    return task.view


def moments(horizon: int, num_frames: int = NUM_FRAMES) -> np.ndarray:
    """Return the steps `[F]` of a strip's frames: first, last, and evenly between."""
    return np.linspace(0, horizon, num_frames).round().astype(int)


def record(envs: WorldVectorEnv, act: Act, seeds: Sequence[int], color: Color) -> Recording:
    """Record one episode for each seed, all in parallel.

    Args:
        envs: at least as many lanes as there are seeds.
        act: the policy.
        seeds: they determine the initial states.
        color: the color of the object's path.
    """
    states, achieved, observation = [], [], None

    def act_and_record(now: Observation) -> tuple[np.ndarray, np.ndarray]:
        nonlocal observation
        observation = now
        states.append(envs.state)
        achieved.append(now["achieved_goal"])
        return act(now)

    outcome = roll_out(envs, Act(act_and_record, act.start), seeds)
    assert observation is not None
    goal = observation["desired_goal"]
    states.append(envs.state)
    achieved.append(envs.world.observe(envs.state, goal)["achieved_goal"])
    physics = np.stack([state.physics for state in states])
    return Recording(envs.world, states[0], physics, np.stack(achieved), goal, outcome, seeds, color)


def film_strips(path: str | Path, num_frames: int = NUM_FRAMES) -> tuple[list[Strip], str]:
    """Return the strips of a finished run, and if there are none, the reason.

    There is one strip for each kind of episode in the verdict: a failure that was fixed, a success that was kept, a success
    that was broken; or a return above the base's and one below it. Each strip shows the first episode of its kind that does
    not begin at its goal.
    """
    try:
        task, found = _pairs(Path(path))
        if not found and task.measured_by == "return":
            return [], "base and policy have the same returns in the first episodes of the verdict"
        if not found:
            return [], "neither base nor policy solves an episode of the verdict"
        takes = [episode.take for pair in found.values() for episode in pair]
        steps = moments(len(takes[0].physics) - 1, num_frames)
        frames = render(view_of(task), takes, steps.tolist(), HEIGHT, WIDTH)
        strips = []
        for kind, pair in found.items():
            rows = (
                Row(
                    name,
                    None if task.measured_by == "return" else one.success,
                    one.in_words(task),
                    np.stack([next(frames) for _ in steps]),
                )
                for name, one in zip(("base", "base + residual"), pair, strict=True)
            )
            strips.append(Strip(kind, pair[0].seed, steps, (next(rows), next(rows))))
        return strips, ""
    except ResidualRLError as error:
        return [], str(error)


def _pairs(path: Path) -> tuple[Task, dict[str, tuple[FilmedEpisode, FilmedEpisode]]]:
    """Return the run's task, and for each kind the first episode, of the base and of the policy."""
    arrays, config, _ = read_policy(path)
    verdict = read_verdict(path)
    if (path / ENVIRONMENT).exists():
        raise ResidualRLError(f"{config.task!r} is a user-supplied environment, which has no camera view")
    if config.controller not in CONTROLLERS and read_kept_base(path) is None:
        raise ResidualRLError(f"the controller {config.controller!r} is user-supplied and not stored in the run directory")
    task = replace(find_task(config.task), measured_by=config.measured_by)
    view_of(task)  # fail before the rollouts
    controller = base_of_run(path, None, task.spec).controller
    composition, size = config.algorithm.composition, task.spec.action_size
    residual = restore_residual(config.algorithm, task.spec, arrays, str(path / POLICY))
    alone, both = base_alone(controller, composition, size), base_plus_residual(controller, residual, size)

    kept = round(verdict.base.success_rate * verdict.episodes) - verdict.broken
    wanted = [kind for kind, count in (("fixed", verdict.fixed), ("kept", kept), ("broken", verdict.broken)) if count]
    found: dict[str, tuple[FilmedEpisode, FilmedEpisode]] = {}
    seeds = evaluation_seeds(Purpose.VERDICT, verdict.episodes)
    if task.measured_by == "return":  # the verdict does not count better and worse returns: look at the first episodes only
        wanted, seeds = ["better", "worse"], seeds[:MAX_LANES]
    with closing(evaluation_envs(task, verdict.episodes, None, reads_state(controller))) as envs:
        for start in range(0, len(seeds), envs.num_envs):
            chunk = seeds[start : start + envs.num_envs]
            base, policy = record(envs, alone, chunk, BASE_COLOR), record(envs, both, chunk, POLICY_COLOR)
            for kind, lane in _first_of_each(base.outcome, policy.outcome, task.measured_by).items():
                if kind in wanted and kind not in found:
                    found[kind] = base.episode(lane), policy.episode(lane)
            if len(found) == len(wanted):
                break
    return task, {kind: found[kind] for kind in wanted if kind in found}


def _first_of_each(base: Outcome, policy: Outcome, measured_by: Measure) -> dict[str, int]:
    """Return for each kind the first lane that does not begin at its goal."""
    to_do = ~(base.steps_to_success <= 1)
    kinds = {
        "fixed": ~base.success & policy.success,
        "kept": base.success & policy.success,
        "broken": base.success & ~policy.success,
    }
    if measured_by == "return":
        kinds = {"better": policy.returns > base.returns, "worse": policy.returns < base.returns}
    return {kind: int(np.argmax(lanes & to_do)) for kind, lanes in kinds.items() if (lanes & to_do).any()}
