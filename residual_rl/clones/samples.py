"""What a network is trained on: steps of demonstrations with their targets; images in a file, read once."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from residual_rl.clones.settings import Cloning, Form
from residual_rl.demonstrations.checking import flat
from residual_rl.demonstrations.episodes import Demonstrations
from residual_rl.errors import DemonstrationError

STILL = 1e-6
"""Deviation below which a number does not vary; it is then centred only."""


@dataclass(frozen=True)
class Scales:
    """Mean and deviation over the steps that are trained on."""

    vector_mean: np.ndarray
    vector_scale: np.ndarray
    action_mean: np.ndarray
    action_scale: np.ndarray
    gripper: np.ndarray
    """The commands that open and close the gripper: `[2]`."""


@dataclass(frozen=True)
class Samples:
    """All steps, N, of all episodes, one after the other."""

    vectors: np.ndarray
    """`[N, P]` float32"""
    actions: np.ndarray
    """`[N, A]` float32"""
    closed: np.ndarray
    """`[N]` int32: whether the gripper is to be open (0) or closed (1)."""
    first: np.ndarray
    """`[N]` the first step of the episode."""
    last: np.ndarray
    """`[N]` its last one."""
    images: np.ndarray | None
    """`[N, V, H, W, C]` uint8, of V viewpoints; in a file that is removed with this object."""
    training: np.ndarray
    """Steps to train on."""
    held_out: np.ndarray
    """Steps of the held-out episodes."""
    held_out_episodes: tuple[int, ...]
    scales: Scales
    digest: str
    """SHA-256 of all of it."""


def read_samples(demonstrations: Demonstrations, form: Form, settings: Cloning, tell: Callable[[str], None]) -> Samples:
    """Read all episodes, one at a time.

    Raises:
        DemonstrationError: an episode is not as it should be, or there are fewer than two.
    """
    if len(demonstrations) < 2:
        raise DemonstrationError(f"{demonstrations.source} has one episode: one more at least is needed, to be held out")
    vectors, actions, lengths = [], [], []
    hasher = hashlib.sha256()
    with _ImageFile(form, settings.viewpoints) as images:
        for episode in demonstrations:
            arrays, steps = flat(episode.observations), len(episode)
            rows = [np.asarray(arrays[key][:steps], np.float32).reshape(steps, -1) for key, _ in form.vectors]
            vectors.append(np.concatenate([np.zeros((steps, 0), np.float32), *rows], axis=1))
            actions.append(np.asarray(episode.actions, np.float32).reshape(steps, -1))
            lengths.append(steps)
            images.add(arrays, steps, hasher)
            for part in (vectors[-1], actions[-1]):
                hasher.update(repr(part.shape).encode() + part.tobytes())
        pixels = images.array(sum(lengths))
    ends = np.cumsum(lengths)
    first, last = (np.repeat(bound, lengths) for bound in (ends - lengths, ends - 1))
    aside = _held_out(len(lengths), settings)
    of_episode = np.repeat(np.arange(len(lengths)), lengths)
    is_aside = np.isin(of_episode, aside)
    every, moves = np.concatenate(vectors), np.concatenate(actions)
    closed = np.concatenate([_closed(one, form.gripper, settings.early_closing) for one in actions])
    training, held_out = np.flatnonzero(~is_aside), np.flatnonzero(is_aside)
    tell(f"{len(lengths)} demonstrations, {len(every):,} steps; {len(aside)} episodes are held out")
    scales = _scales(every[training], moves[training], form, demonstrations.about.action_space)
    return Samples(every, moves, closed, first, last, pixels, training, held_out, tuple(aside), scales, hasher.hexdigest())


class _ImageFile:
    """Writes the images of all steps into a temporary file, so that memory does not grow with them."""

    def __init__(self, form: Form, viewpoints: tuple[str, ...]):
        self._shape = form.image_shape
        self._keys = (form.image, *viewpoints) if form.image else ()

    def __enter__(self) -> "_ImageFile":
        self._file: Any = TemporaryFile() if self._keys else None
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, arrays: dict[str, np.ndarray], steps: int, hasher: Any) -> None:
        if self._keys:
            views = [np.asarray(arrays[key][:steps]).reshape(steps, 1, *self._shape) for key in self._keys]
            contents = np.concatenate(views, axis=1).tobytes()
            hasher.update(contents)
            self._file.write(contents)

    def array(self, steps: int) -> np.ndarray | None:
        if not self._keys:
            return None
        self._file.flush()
        return np.memmap(self._file, np.uint8, "r", shape=(steps, len(self._keys), *self._shape))


def _held_out(episodes: int, settings: Cloning) -> list[int]:
    number = min(max(1, round(settings.held_out * episodes)), episodes - 1)
    return sorted(np.random.default_rng(settings.seed).permutation(episodes)[:number].tolist())


def _scales(vectors: np.ndarray, actions: np.ndarray, form: Form, action_space: Any) -> Scales:
    def varying(deviation: np.ndarray) -> np.ndarray:
        return np.where(deviation < STILL, 1.0, deviation).astype(np.float32)

    moves = actions[:, form.continuous]
    commands = np.zeros(2, np.float32)
    if form.gripper is not None:
        bounds = np.array([action_space.high.flat[form.gripper], action_space.low.flat[form.gripper]], np.float32)
        seen = np.array([actions[:, form.gripper].max(), actions[:, form.gripper].min()], np.float32)
        commands = np.where(np.isfinite(bounds), bounds, seen)
    means = vectors.mean(axis=0, dtype=np.float64), moves.mean(axis=0, dtype=np.float64)
    deviations = vectors.std(axis=0, dtype=np.float64), moves.std(axis=0, dtype=np.float64)
    return Scales(
        means[0].astype(np.float32), varying(deviations[0]), means[1].astype(np.float32), varying(deviations[1]), commands
    )


def _closed(actions: np.ndarray, gripper: int | None, early: int) -> np.ndarray:
    """Return the labels of an episode's gripper: `[T]` int32.

    A command above 0 opens, one below closes, and 0 continues; it is open at the start. If it will change within `early` steps,
    the later label is used already.
    """
    closed = np.zeros(len(actions), np.int32)
    if gripper is None:
        return closed
    state = 0
    for step, command in enumerate(actions[:, gripper]):
        state = 0 if command > 0 else 1 if command < 0 else state
        closed[step] = state
    ahead = closed.copy()
    for step in range(len(closed)):
        changed = np.flatnonzero(closed[step : step + early + 1] != closed[step])
        if len(changed):
            ahead[step] = 1 - closed[step]
    return ahead
