"""The vector environment of racing: episodes end by a collision or with their second lap, not by time alone."""

import numpy as np
from gymnasium.vector import AutoresetMode

from residual_rl.tasks.ending import EndingVectorEnv
from residual_rl.tasks.racing.car import STEP_SECONDS
from residual_rl.tasks.racing.world import COLLISION_COST, MOST_PROGRESS, STATE_SIZE, RacingWorld
from residual_rl.types import StepInfo, Timing


def reward_progress(info: StepInfo) -> np.ndarray:
    """Return what steps are worth, in metres: `[B]`, from `progress` and `collision` `[B]` in their info.

    Progress along the centre line, minus 20 m for a collision.
    """
    progress = np.clip(info["progress"], -MOST_PROGRESS, MOST_PROGRESS)
    return progress - COLLISION_COST * np.asarray(info["collision"], dtype=float)


class RacingVectorEnv(EndingVectorEnv):
    """All cars of a world, stepped together.

    A collision terminates an episode; its second lap truncates it, since the race could go on, as does the horizon. With
    autoreset DISABLED a lane that has ended shows the same again, with reward 0, until it is reset.

    The `info` of a step holds `is_success` `[E]` bool (the race is finished), `observation` and `action` as everywhere, and
    `progress` `[E]` m in this step, `collision` `[E]` bool, `track` `[E]` number of the track, `lap_times` `[E, 2]` s since the
    start when each lap was completed and `race_time` `[E]` s when the race was finished; infinite if that has not happened.

    Args:
        world: the cars and their tracks.
        num_envs: number of lanes E.
        autoreset_mode: NEXT_STEP or DISABLED.
        max_episode_steps: when episodes end that did not end before; None for the horizon.
        with_state: whether observations hold what a driver with a map is shown, `[E, 256]`.
    """

    world: RacingWorld  # type: ignore[assignment]

    def __init__(
        self,
        world: RacingWorld,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        with_state: bool = False,
    ):
        super().__init__(world, reward_progress, num_envs, autoreset_mode, max_episode_steps, with_state)

    @property
    def timing(self) -> Timing:
        """Seconds until the race is finished, track by track."""
        names = tuple(track.name for track in self.world.circuits.tracks)
        return Timing(unit="s", step=STEP_SECONDS, entry="race_time", scene="track", scenes=names)

    def _state_size(self) -> int:
        return STATE_SIZE

    def _shown_state(self) -> np.ndarray:
        return self.world.with_map(self._state.physics)
