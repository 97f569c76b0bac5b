"""Film a controller or a run's policy in a registered Gymnasium environment, drawn by the environment itself."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from residual_rl.api import load
from residual_rl.custom.making import close_quietly, gymnasium_maker, made
from residual_rl.errors import ResidualRLError, WorldError
from residual_rl.pictures import video
from residual_rl.pictures.film import moments
from residual_rl.pictures.video import Caption
from residual_rl.policy import Policy
from residual_rl.residual import Composition
from residual_rl.runs.reading import read_config
from residual_rl.storage import write_whole
from residual_rl.training.experiment import Request, described, environment_of_run, open_experiment
from residual_rl.types import Measure
from residual_rl.verdict import in_digits

DRAWN = "rgb_array"  # Gymnasium's render mode that returns pictures
USUAL_RATE = 30.0  # frames a second, if the environment does not say
HOLD_SECONDS = 1.0  # for which a video shows the end of an episode


class CustomShow(NamedTuple):
    """A policy in an environment."""

    env: str
    """Gymnasium id, with the module that registers it if there is one."""
    name: str
    """Of the policy."""
    policy: Policy
    horizon: int
    measured_by: Measure


class _Episode(NamedTuple):
    frames: list[np.ndarray]
    """[T + 1] of [H, W, 3] uint8."""
    seed: int
    total_reward: float
    success: bool

    def in_words(self, measured_by: Measure) -> str:
        if measured_by == "return":
            return f"return {in_digits(self.total_reward)}"
        return "success" if self.success else "failure"


def show_of(env: str, controller: Any, run: str | Path | None, horizon: int | None, tell: Callable[[str], None]) -> CustomShow:
    """The policy of a run in a Gymnasium environment, or a controller alone.

    Raises:
        ResidualRLError: a name, run or controller that cannot be used.
    """
    if run is None:
        given = {"method": "rpl", "preset": "default", "seed": 0}
        with open_experiment(env, Request(controller, given, None, tell, None, writes=False), horizon, False) as experiment:
            task, about = experiment.task, experiment.description
            policy = Policy(experiment.controller, Composition(), None, task.spec, about and about.layout, experiment.encoder)
            return CustomShow(env, experiment.base.name, policy, task.spec.horizon, task.measured_by)
    about, config = described(run), read_config(run)
    if about is None:
        raise ResidualRLError(f"{run} was trained on {config.task!r}, not on {env!r}")
    if env.rpartition(":")[2] != about.task.rpartition(":")[2]:
        raise ResidualRLError(f"{run} was trained on {about.task!r}, not on {env!r}")
    where = env if ":" in env else environment_of_run(run, about)
    policy = load(run, controller)
    name = f"{config.controller} + residual" if policy.promoted else config.controller
    return CustomShow(where, name, policy, about.horizon if horizon is None else horizon, config.measured_by)


def film(show: CustomShow, seeds: Sequence[int], path: Path, on_progress: Callable[[int, int], None]) -> str:
    """Write a video, or a film strip if the file is a `.png`; return how the policy did.

    Raises:
        ResidualRLError: the environment cannot be drawn, or the file cannot be written.
    """
    env = _drawable(show.env)
    try:
        episodes = []
        for number, seed in enumerate(seeds):
            on_progress(number, len(seeds))
            episodes.append(_roll_out(env, show, seed))
        on_progress(len(seeds), len(seeds))
        rate = float(env.metadata.get("render_fps") or USUAL_RATE)
    finally:
        close_quietly(env)
    if path.suffix.lower() == ".png":
        _write_strip(show, episodes, path)
    else:
        with closing(_captioned(show, episodes, rate)) as frames:
            video.save_video(path, frames, rate)
    if show.measured_by == "return":
        return f"mean return {in_digits(float(np.mean([episode.total_reward for episode in episodes])))}"
    return f"success in {sum(episode.success for episode in episodes)} of {len(episodes)} episodes"


def _drawable(name: str) -> gymnasium.Env:
    plain = made(gymnasium_maker(name), name)
    modes = plain.metadata.get("render_modes", [])
    close_quietly(plain)
    if DRAWN not in modes:
        raise ResidualRLError(f"{name} cannot be filmed: it has no render mode {DRAWN!r}")
    return made(gymnasium_maker(name, DRAWN), name)


def _roll_out(env: gymnasium.Env, show: CustomShow, seed: int) -> _Episode:
    try:
        observation, info = env.reset(seed=seed)
        show.policy.reset()
        frames, total, steps, ended = [_frame(env)], 0.0, 0, False
        while not ended and steps < show.horizon:
            observation, reward, terminated, truncated, info = env.step(show.policy(observation))
            total, steps, ended = total + float(reward), steps + 1, terminated or truncated
            frames.append(_frame(env))
    except ResidualRLError:
        raise
    except Exception as error:
        raise WorldError(f"{show.env}, episode with seed {seed}, raised {type(error).__name__}: {error}") from error
    return _Episode(frames, seed, total, bool(info.get("is_success", False)))


def _frame(env: gymnasium.Env) -> np.ndarray:
    """A picture whose height and width are even, as video codecs need them."""
    frame: Any = env.render()
    picture = np.asarray(frame, np.uint8)
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2, :3]


def _captioned(show: CustomShow, episodes: Sequence[_Episode], rate: float) -> Generator[np.ndarray]:
    for number, episode in enumerate(episodes, 1):
        left = f"{show.env}: {show.name}", f"episode {number}, seed {episode.seed}"
        last = len(episode.frames) - 1
        for step, frame in enumerate(episode.frames):
            end = episode.in_words(show.measured_by) if step == last else ""
            success = episode.success if step == last and show.measured_by == "success" else None
            captioned = video.with_caption(frame, Caption(left, (f"step {step} of {last}", end), success))
            yield from [captioned] * (1 + (round(HOLD_SECONDS * rate) if step == last else 0))


def _write_strip(show: CustomShow, episodes: Sequence[_Episode], path: Path) -> None:
    columns = [f"{share:.0%}" for share in np.linspace(0, 1, len(moments(1)))]
    rows = [
        (
            f"{show.env}: {show.name}, seed {episode.seed}: {episode.in_words(show.measured_by)}",
            [episode.frames[step] for step in moments(len(episode.frames) - 1)],
        )
        for episode in episodes
    ]
    image = video.png(video.grid(rows, columns))
    write_whole(path, lambda beside: beside.write_bytes(image))
