"""Watching races: a picture with each episode's whole lines, or a video in which they are drawn as the cars go."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from residual_rl.controllers import is_random, is_stateful, start_episodes
from residual_rl.errors import ResidualRLError
from residual_rl.pictures import video
from residual_rl.pictures.racing import Drive, draw, drives
from residual_rl.policy import Policy
from residual_rl.residual import Composition
from residual_rl.storage import write_whole
from residual_rl.tasks.racing.car import STEP_SECONDS
from residual_rl.tasks.racing.task import RacingTask

EVERY = 4  # steps, between two frames of a video


def watch(
    task: RacingTask,
    name: str,
    policy: Policy,
    episodes: int,
    seed: int,
    path: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Write what a policy, and its base beside it if there is a residual, do in some episodes; return how the policy did.

    Args:
        task: where.
        name: of the policy.
        policy: a base alone, or with its residual.
        episodes: how many.
        seed: of the first.
        path: `.png` for a picture with a row for each episode, `.mp4` or `.gif` for a video.
        on_progress: called with how many frames are drawn, and how many there will be.

    Raises:
        ResidualRLError: the file's ending, or a package missing.
    """
    if path.suffix.lower() not in video.NEEDED:
        raise ResidualRLError(f"cannot write {path}: its ending must be .png for a picture, .mp4 or .gif for a video")
    video.check_can_write(path.suffix.lower())
    seeds = range(seed, seed + episodes)
    raced = [_raced(task, name, policy, seeds)]
    if policy.promoted:
        raced.insert(0, _raced(task, name.removesuffix(" + residual"), alone(task, policy), seeds))
    rows = list(zip(*raced, strict=True))
    if path.suffix.lower() == ".png":
        pictures = []
        for row in rows:
            pictures.append(draw(row))
            on_progress(len(pictures), episodes)
        image = video.png(np.concatenate(pictures))
        write_whole(path, lambda beside: beside.write_bytes(image))
    else:
        with closing(_frames(rows, on_progress)) as frames:
            video.save_video(path, frames, 1 / (EVERY * STEP_SECONDS))
    times = [drive.race_time for drive in raced[-1] if np.isfinite(drive.race_time)]
    mean = f", {np.mean(times):.2f} s on average" if times else ""
    return f"{len(times)} of {episodes} races finished{mean}"


def alone(task: RacingTask, policy: Policy) -> Policy:
    """Return the base of a policy, as a policy."""
    return Policy(policy.controller, Composition(), None, task.spec)


def _raced(task: RacingTask, name: str, policy: Policy, seeds: Sequence[int]) -> list[Drive]:
    if is_stateful(policy.controller) or is_random(policy.controller):
        start_episodes(policy.controller, len(seeds))
    return drives(task, name, policy, seeds)


def _frames(rows: Sequence[tuple[Drive, ...]], on_progress: Callable[[int, int], None]) -> Generator[np.ndarray]:
    """All episodes, one after the other, at real speed."""
    steps = [range(1, max(len(drive.path) for drive in row) + EVERY, EVERY) for row in rows]
    total, done = sum(map(len, steps)), 0
    for row, of_row in zip(rows, steps, strict=True):
        for step in of_row:
            yield draw(row, step)
            done += 1
            on_progress(done, total)
