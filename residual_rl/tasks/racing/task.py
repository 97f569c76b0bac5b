"""The racing tasks: their tracks, and on which others a driver that was trained on them is judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gymnasium.vector import AutoresetMode

from residual_rl.tasks.ending import no_goal, no_success
from residual_rl.tasks.racing import tracks
from residual_rl.tasks.racing.envs import RacingVectorEnv, reward_progress
from residual_rl.tasks.racing.track import Track
from residual_rl.tasks.racing.world import SPEC, RacingWorld
from residual_rl.tasks.task import Task

FROM_FILES = "racing:"
"""What the name of a task on a user's tracks begins with; the rest is a CSV file, or a folder of them."""


@dataclass(frozen=True)
class RacingTask(Task):
    """A task whose episodes end by a collision or a finish."""

    def make_envs(
        self,
        num_envs: int = 1,
        *,
        num_threads: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        with_state: bool = False,
    ) -> RacingVectorEnv:
        """A vector environment of this task; its arguments are `RacingVectorEnv`'s."""
        world = self.make_world(num_threads)
        assert isinstance(world, RacingWorld)
        return RacingVectorEnv(world, num_envs, autoreset_mode, max_episode_steps, with_state)


def _task(name: str, summary: str, gymnasium_id: str, world: Any, **others: Any) -> RacingTask:
    return RacingTask(
        name=name,
        summary=summary,
        gymnasium_id=gymnasium_id,
        spec=SPEC,
        default_controller="pure-pursuit",
        make_world=world,
        reward=no_goal(reward_progress),
        success=no_success,
        measured_by="time",
        **others,
    )


def _world_of(seeds: dict[str, int], num_threads: int | None) -> RacingWorld:
    return RacingWorld(tracks.tracks_of(seeds), num_threads)


RACING_TASKS = (
    _task(
        "racing",
        "drive two laps with a 1:10 car as fast as it goes, on nine tracks; judged on three others",
        "residual_rl/Racing-v0",
        partial(_world_of, tracks.TRAINING),
        selection_task="racing-validation",
        verdict_task="racing-test",
    ),
    _task(
        "racing-validation",
        "the same on the three tracks that select a checkpoint",
        "residual_rl/RacingValidation-v0",
        partial(_world_of, tracks.VALIDATION),
    ),
    _task(
        "racing-test",
        "the same on the three tracks that decide the verdict",
        "residual_rl/RacingTest-v0",
        partial(_world_of, tracks.TEST),
    ),
)


def racing_on(path: str) -> RacingTask:
    """Return the task on the track in a CSV file, or on those in a folder.

    Raises:
        TrackError: a track cannot be read or driven.
    """
    return on_tracks(f"{FROM_FILES}{path}", tracks.read_tracks(path))


def on_tracks(name: str, on: Sequence[Track]) -> RacingTask:
    """Return the task on some tracks; all of them are for training and verdict alike."""
    summary = f"the same on {len(on)} tracks of your own: {', '.join(track.name for track in on)}"
    return _task(name, summary, "residual_rl/RacingOnFiles-v0", partial(RacingWorld, tuple(on)))
