"""Show a controller or a run's policy in a window, as a video or as a film strip."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from residual_rl.api import load
from residual_rl.controllers import Controller, reads_state
from residual_rl.controllers.resolve import for_lanes, resolve
from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.evaluation import MAX_LANES, Act, evaluation_envs
from residual_rl.pictures import video
from residual_rl.pictures.film import BASE_COLOR, POLICY_COLOR, FilmedEpisode, moments, record, view_of
from residual_rl.pictures.rendering import Take, render
from residual_rl.pictures.video import Caption
from residual_rl.pictures.watch_custom import film, show_of
from residual_rl.policy import Policy
from residual_rl.residual import Composition
from residual_rl.runs.reading import read_config
from residual_rl.storage import write_whole
from residual_rl.tasks import find_task, is_task
from residual_rl.tasks.racing.task import RacingTask
from residual_rl.tasks.task import Task
from residual_rl.types import Observation

SIZES = {".mp4": (480, 640), ".gif": (360, 480), ".png": (216, 288)}  # pixels of a picture: height, width
DEFAULT_EPISODES = 5
HOLD_SECONDS = 1.0  # a video holds the last frame of an episode for this time


class Shown(NamedTuple):
    """The result of `watch`."""

    path: Path | None
    """The file; None for a window."""
    summary: str
    """Success or return of the policy, in a few words."""


class _Show(NamedTuple):
    """A policy on a task."""

    task: Task
    name: str
    policy: Policy

    def record(self, seeds: Iterable[int], lanes: int, num_threads: int | None) -> Iterator[FilmedEpisode]:
        """Yield one episode for each seed, running `lanes` of them in parallel."""

        def act(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
            action = self.policy(observation)
            return action, action

        color = POLICY_COLOR if self.policy.promoted else BASE_COLOR
        with closing(evaluation_envs(self.task, lanes, num_threads, reads_state(self.policy.controller))) as envs:
            remaining = iter(seeds)
            while chunk := list(islice(remaining, lanes)):
                recording = record(envs, Act(act, self.policy.reset), chunk, color)
                yield from map(recording.episode, range(len(chunk)))

    def captions(self, episode: FilmedEpisode, number: int) -> list[Caption]:
        """Return a caption for each state of an episode."""
        horizon = len(episode.take.physics) - 1
        left = f"{self.task.name}: {self.name}", f"episode {number}, seed {episode.seed}"
        captions = [Caption(left, (f"step {step} of {horizon}", "")) for step in range(horizon + 1)]
        success = episode.success if self.task.measured_by == "success" else None
        captions[-1] = Caption(left, (captions[-1].right[0], episode.in_words(self.task)), success)
        return captions

    def summary(self, episodes: Sequence[FilmedEpisode]) -> str:
        """Return the success rate or the mean return as text."""
        if self.task.measured_by == "return" and episodes:
            return f"mean return {np.mean([episode.total_reward for episode in episodes]):.1f} in {len(episodes)} episodes"
        return f"success in {sum(episode.success for episode in episodes)} of {len(episodes)} episodes"


def watch(
    env: str,
    controller: Controller | str | None = None,
    *,
    run: str | Path | None = None,
    episodes: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    horizon: int | None = None,
    num_threads: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Shown:
    """Show episodes of a controller, or of the policy that a run delivers.

    Without `out`, a task of the library is shown in a window if there is a display. Otherwise the file is
    `<task>-<controller>.mp4` (or `.gif`). Other environments draw themselves, with Gymnasium's render mode "rgb_array".

    Args:
        env: a task's name or Gymnasium id; `MODULE:ID` if a module has to be imported first.
        controller: as for `improve`; None for the task's own.
        run: the directory of a finished run; its policy is shown instead of the controller alone.
        episodes: how many; None for five in a file, and in a window until it is closed.
        seed: of the first episode; later ones count up. The verdict's episodes begin at 0.
        out: the file, by its ending: `.mp4` or `.gif` for a video, `.png` for a film strip.
        horizon: as for `improve`.
        num_threads: physics threads; None for one per core.
        on_progress: called with the number of frames (of another environment: episodes) that are drawn, and their total.
        tell: called with a line of text about what is going on.

    Raises:
        ResidualRLError: a name, run or file cannot be used, or a package or OpenGL is missing; the message says what to do.
        Interrupted: Ctrl-C; no file was written.
    """
    if not is_task(env):
        return _watch_custom(env, controller, run, episodes, seed, out, horizon, on_progress, tell)
    show = _make_show(env, controller, run, num_threads)
    if isinstance(show.task, RacingTask):
        from residual_rl.pictures import racing_watch

        path = Path(out or re.sub(r"[^\w.]+", "-", f"{show.task.name}-{show.name}") + ".png")
        return Shown(path, racing_watch.watch(show.task, show.name, show.policy, episodes or 2, seed, path, on_progress))
    if out is None:
        from residual_rl.pictures import window

        reason = window.reason_for_no_window()
        if not reason:
            seeds = count(seed) if episodes is None else range(seed, seed + episodes)
            return _show_window(show, seeds)
        out = _file_name(show.task.name, show.name)
        tell(f"cannot open a window: {reason}. Writing {out}")
    path = _writable(out)
    suffix = path.suffix.lower()
    seeds = range(seed, seed + (episodes or DEFAULT_EPISODES))
    try:
        return (_write_strip if suffix == ".png" else _write_video)(show, seeds, path, num_threads, on_progress)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {path} was not written") from None


def _watch_custom(
    env: str,
    controller: Any,
    run: str | Path | None,
    episodes: int | None,
    seed: int,
    out: str | Path | None,
    horizon: int | None,
    on_progress: Callable[[int, int], None],
    tell: Callable[[str], None],
) -> Shown:
    show = show_of(env, controller, run, horizon, tell)
    path = _writable(_file_name(show.env, show.name) if out is None else out)
    if out is None:
        tell(f"writing {path}")
    try:
        return Shown(path, film(show, range(seed, seed + (episodes or DEFAULT_EPISODES)), path, on_progress))
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {path} was not written") from None


def _file_name(task: str, policy: str) -> str:
    """One name, whatever the two are called."""
    return re.sub(r"[^\w.]+", "-", f"{task}-{policy}") + (".mp4" if find_spec("av") else ".gif")


def _writable(out: str | Path) -> Path:
    """The file.

    Raises:
        ResidualRLError: it is of no known kind, or a package is missing that writes such files.
    """
    path = Path(out)
    suffix = path.suffix.lower()
    if suffix not in SIZES:
        raise ResidualRLError(f"cannot write {path}: use the suffix .mp4 or .gif for a video, .png for a film strip")
    video.check_can_write(suffix)
    return path


def _make_show(env: str, controller: Controller | str | None, run: str | Path | None, num_threads: int | None) -> _Show:
    task = find_task(env)
    if not isinstance(task, RacingTask):  # which has no camera: a track is seen from above
        view_of(task)
    if run is None:
        base = for_lanes(resolve(task.default_controller if controller is None else controller, task.spec, num_threads))
        return _Show(task, base.name, Policy(base.controller, Composition(), None, task.spec))
    config = read_config(run)
    trained = find_task(config.task)
    if task.name not in (trained.name, trained.selection_task, trained.verdict_task):
        raise ResidualRLError(f"{run} was trained on {config.task!r}, not on {task.name!r}")
    policy = load(run, controller)
    return _Show(task, f"{config.controller} + residual" if policy.promoted else config.controller, policy)


def _show_window(show: _Show, seeds: Iterable[int]) -> Shown:
    from residual_rl.pictures.window import play

    seen: list[FilmedEpisode] = []

    def episodes() -> Iterator[tuple[Take, Sequence[Caption]]]:
        for number, episode in enumerate(show.record(seeds, 1, 1), 1):
            yield episode.take, show.captions(episode, number)
            seen.append(episode)

    with suppress(KeyboardInterrupt):  # Ctrl-C closes the window
        play(view_of(show.task), episodes())
    return Shown(None, show.summary(seen))


def _write_video(
    show: _Show, seeds: range, path: Path, num_threads: int | None, on_progress: Callable[[int, int], None]
) -> Shown:
    """Write a video of all episodes in sequence, at real speed."""
    height, width = SIZES[path.suffix.lower()]
    states = show.task.spec.horizon + 1
    on_progress(0, len(seeds) * states)
    episodes = list(show.record(seeds, min(len(seeds), MAX_LANES), num_threads))
    step_seconds = episodes[0].take.step_seconds

    def frames() -> Generator[np.ndarray]:
        takes = [episode.take for episode in episodes]
        with closing(render(view_of(show.task), takes, range(states), height, width)) as pictures:
            for number, episode in enumerate(episodes):
                captions = show.captions(episode, number + 1)
                for step, caption in enumerate(captions):
                    frame = video.with_caption(next(pictures), caption)
                    hold = round(HOLD_SECONDS / step_seconds) if step == len(captions) - 1 else 0
                    yield from [frame] * (1 + hold)
                    on_progress(number * states + step + 1, len(seeds) * states)

    with closing(frames()) as drawn:
        video.save_video(path, drawn, 1 / step_seconds)
    return Shown(path, show.summary(episodes))


def _write_strip(
    show: _Show, seeds: range, path: Path, num_threads: int | None, on_progress: Callable[[int, int], None]
) -> Shown:
    """Write a film strip with a row for each episode, time from left to right."""
    height, width = SIZES[path.suffix.lower()]
    steps = moments(show.task.spec.horizon).tolist()
    on_progress(0, len(seeds) * len(steps))
    episodes = list(show.record(seeds, min(len(seeds), MAX_LANES), num_threads))
    pictures = []
    for picture in render(view_of(show.task), [episode.take for episode in episodes], steps, height, width):
        pictures.append(picture)
        on_progress(len(pictures), len(seeds) * len(steps))
    rows = [
        (
            f"{show.task.name}: {show.name}, seed {episode.seed}: {episode.in_words(show.task)}",
            pictures[start : start + len(steps)],
        )
        for episode, start in zip(episodes, range(0, len(pictures), len(steps)), strict=True)
    ]
    image = video.png(video.grid(rows, [f"step {step}" for step in steps]))
    write_whole(path, lambda beside: beside.write_bytes(image))
    return Shown(path, show.summary(episodes))
