"""Record a controller's episodes in any environment."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from residual_rl.controllers import propose, reads_state, start_episodes
from residual_rl.custom.sources import AnyEnv
from residual_rl.demonstrations.checking import flat, is_image, unflat
from residual_rl.demonstrations.episodes import About, Demonstration, Demonstrations
from residual_rl.demonstrations.sources import FORMATS, check_free, open_demonstrations, write_demonstrations
from residual_rl.demonstrations.staging import Staging
from residual_rl.errors import DemonstrationError, UnknownName
from residual_rl.progress.reporter import Tell, reporter_of
from residual_rl.rollout import Watch
from residual_rl.seeds import Purpose
from residual_rl.tasks.lanes import Lanes
from residual_rl.training.experiment import Experiment, Request, open_experiment

SEEDS_PER_RECORDING = 10_000
MOST_LANES = 8
"""Episodes that run at once, and are in memory."""
PATIENCE = 20
"""Attempts for each successful episode, after which recording gives up."""


def record(
    env: AnyEnv,
    controller: Any = None,
    *,
    episodes: int = 50,
    out: str | Path,
    format: str = "minari",
    successful_only: bool = False,
    seed: int = 0,
    horizon: int | None = None,
    success: str = "last",
    frames: int = 1,
    rate: float | None = None,
    units: dict[str, str] | None = None,
    num_threads: int | None = None,
    tell: Tell = print,
) -> Demonstrations:
    """Record episodes of a controller as demonstrations.

    Actions are recorded as they are executed: clipped, in the environment's units. Initial states are those of no training and
    no verdict. If it is stopped or killed, the same call resumes from the last batch of episodes.

    Args:
        env: an environment as for `improve`.
        controller: as for `improve`, such as any callable of observations; None for the task's own.
        episodes: how many to record.
        out: the folder to write; it must not exist. It appears once all episodes are in it.
        format: "minari" or "lerobot".
        successful_only: whether to drop episodes that do not end in success.
        seed: recordings with different seeds, up to 99, share no initial state.
        horizon: as for `improve`.
        success: as for `improve`.
        frames: how many frames the environment stacks along the channels of its images, the oldest first; only the newest is
            recorded, and `clone` stacks them again.
        rate: steps per second, in Hz, if it is known.
        units: units by entry, such as `{"observation": "m", "action": "m/s"}`.
        num_threads: physics threads; None for one per core.
        tell: called with lines about the progress.

    Returns:
        The demonstrations, read from `out`.

    Raises:
        DemonstrationError: the folder exists, or too few episodes succeed.
        ResidualRLError: a name, environment or controller that cannot be used.
    """
    out = Path(out)
    check_free(out)
    if format not in FORMATS:
        raise UnknownName("format of demonstrations", format, FORMATS)
    if not (isinstance(episodes, int) and episodes >= 1):
        raise DemonstrationError(f"episodes must be a whole number of at least 1, not {episodes!r}")
    if not 0 <= seed < 100:
        raise DemonstrationError(f"the seed of a recording must be between 0 and 99, not {seed}")
    with reporter_of(tell) as report:
        fields: dict[str, Any] = {"method": "rpl", "preset": "default", "seed": 0}
        if not isinstance(env, VectorEnv):
            fields["episodes_per_cycle"] = MOST_LANES
        request = Request(controller, fields, num_threads, report.line, None, writes=False)
        with open_experiment(env, request, horizon, False, success) as experiment:
            recorder = _Recorder(experiment, frames, num_threads)
            if successful_only and experiment.task.measured_by != "success":
                raise DemonstrationError(
                    f"{experiment.task.name} does not report info['is_success'], so successful episodes cannot be told apart"
                )
            name = experiment.base.name
            about = replace(recorder.about, controller=name, rate=rate, units=units or {})
            settings = {"environment": about.environment, "controller": name, "seed": seed, "frames": frames}
            staging = Staging(out, settings | {"successful_only": successful_only})
            _collect(recorder, staging, episodes, seed, successful_only, report.line)
    write_demonstrations(about, staging.episodes(about, episodes), out, format)
    staging.remove()
    return open_demonstrations(out)


def _collect(
    recorder: "_Recorder", staging: Staging, episodes: int, seed: int, successful_only: bool, tell: Callable[[str], None]
) -> None:
    """Run episodes until enough are kept."""
    first = Purpose.DEMONSTRATION + seed * SEEDS_PER_RECORDING
    most = min(SEEDS_PER_RECORDING, PATIENCE * (episodes + 5))
    while (have := len(staging.kept())) < episodes:
        begin = staging.attempts
        if begin + recorder.lanes > most:
            raise DemonstrationError(
                f"only {have} of {begin} episodes {'succeeded' if successful_only else 'could be recorded'}, {episodes} are "
                f"needed; they are kept in {staging.folder}"
            )
        attempts = range(begin, begin + recorder.lanes)
        for attempt, episode in recorder.run([first + attempt for attempt in attempts]):
            if episode.success or not successful_only:
                staging.add(begin + attempt, episode)
        staging.count(begin + recorder.lanes)
        tell(f"recorded {min(len(staging.kept()), episodes)} of {episodes} episodes, {staging.attempts} run")


class _Recorder:
    """Runs episodes, one in each lane, and keeps what the environment shows."""

    def __init__(self, experiment: Experiment, frames: int, num_threads: int | None):
        self.task, self.controller = experiment.task, experiment.controller
        self.layout = getattr(self.task, "layout", None)
        if self.layout is None:
            env: Any = self.task.open_lanes(num_threads=num_threads)
            shown, action_space = env.single_observation_space, env.single_action_space
            env.close()
        else:
            shown, action_space = spaces_of(self.layout)
        self.frames = frames
        self.about = About(single_frames(shown, frames), action_space, self.task.name, frames=frames)
        self.envs: Lanes = self.task.open_lanes(MOST_LANES, num_threads=num_threads, with_state=reads_state(self.controller))
        self.lanes = self.envs.num_envs

    def run(self, seeds: list[int]) -> list[tuple[int, Demonstration]]:
        """Return the episodes of these seeds by lane; those that broke are left out."""
        watch, size = Watch(self.envs), self.task.spec.action_size
        observation = watch.reset(seeds)
        with watch.asking():
            start_episodes(self.controller, len(seeds))
        shown = [self._newest(observation)]
        done: list[tuple[np.ndarray, ...]] = []
        success = np.zeros(len(seeds), bool)
        while not watch.all_ended:
            with watch.asking():
                action = propose(self.controller, observation, size).clip(-1.0, 1.0)
            observation, reward, terminated, truncated, success = watch.step(action)
            shown.append(self._newest(observation))
            done.append((self._own(action), reward, terminated, truncated))
        found = []
        for lane in np.flatnonzero(~watch.broken).tolist():
            steps = int(watch.lengths[lane])
            arrays = {key: np.stack([one[key][lane] for one in shown[: steps + 1]]) for key in shown[0]}
            values = [np.stack([step[part][lane] for step in done[:steps]]) for part in range(4)]
            known = bool(success[lane]) if self.task.measured_by == "success" else None
            observations = unflat(arrays, self.about.observation_space)
            found.append((lane, Demonstration(observations, *values, success=known, seed=seeds[lane])))
        return found

    def _own(self, action: np.ndarray) -> np.ndarray:
        """Return actions in the environment's units, from those in which the bounds are -1 and 1."""
        return action.astype(self.about.action_space.dtype) if self.layout is None else self.layout.to_world(action)

    def _newest(self, observation: Any) -> dict[str, np.ndarray]:
        """Return what the environment shows, with only the newest frame of images."""
        if self.layout is None:
            arrays = {key: np.array(observation[key]) for key in self.about.entries}
        else:
            arrays = {key: np.array(one) for key, one in flat(self.layout.unflatten(observation)).items()}
        if self.frames > 1:
            for key, space in self.about.entries.items():
                if is_image(space):
                    arrays[key] = newest(arrays[key], space.shape)
        return arrays


def newest(stacks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the newest frame `[E, *shape]` of stacks along the channels, or on an axis before them."""
    if stacks.ndim == len(shape) + 2:
        return stacks[:, -1]
    return stacks[..., -shape[-1] :] if len(shape) == 3 else stacks[..., -1]


def single_frames(space: spaces.Space, frames: int) -> spaces.Space:
    """Return the space of observations whose images are one frame of a stack.

    Raises:
        DemonstrationError: an image is no stack of so many frames.
    """
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: single_frames(inside, frames) for key, inside in space.spaces.items()})
    if frames == 1 or not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) < 3:
        return space
    if len(space.shape) == 4 and space.shape[0] == frames:
        return spaces.Box(0, 255, space.shape[1:], np.uint8)
    if len(space.shape) == 3 and space.shape[2] % frames == 0:
        return spaces.Box(0, 255, (*space.shape[:2], space.shape[2] // frames), np.uint8)
    raise DemonstrationError(f"an image of shape {space.shape} is no stack of {frames} frames along its channels")


def spaces_of(layout: Any) -> tuple[spaces.Space, spaces.Box]:
    """Return the spaces of an environment with a layout; observations without bounds."""
    seen = layout.of_environment

    def box(entry: Any) -> spaces.Box:
        dtype = np.dtype(entry.dtype)
        if dtype.kind == "f":
            return spaces.Box(-np.inf, np.inf, entry.shape, dtype.type)
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return spaces.Box(low, high, entry.shape, dtype.type)

    parts = [((), seen.observation)]
    if layout.goal:
        parts = [((key,), entries) for key, entries in zip(_GOALS, (seen.observation, layout.goal, layout.goal), strict=True)]
    inside: dict[str, Any] = {}
    for prefix, entries in parts:
        for entry in entries:
            inside["/".join((*prefix, *entry.path))] = box(entry)
    bounds = (np.array(one, layout.action_dtype).reshape(layout.action_shape) for one in (layout.low, layout.high))
    action = spaces.Box(*bounds, dtype=np.dtype(layout.action_dtype).type)  # type: ignore[misc]
    return _nested(inside), action


_GOALS = ("observation", "achieved_goal", "desired_goal")


def _nested(inside: dict[str, Any]) -> spaces.Space:
    if "" in inside:
        return inside[""]
    outer: dict[str, Any] = {}
    for name, box in inside.items():
        first, _, rest = name.partition("/")
        outer.setdefault(first, {})[rest] = box
    return spaces.Dict({key: _nested(value) for key, value in outer.items()})
