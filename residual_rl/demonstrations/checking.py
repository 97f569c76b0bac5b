"""Check episodes against their description, and the description against an environment. Everything wrong is named."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from residual_rl.errors import DemonstrationError

Entries = dict[str, spaces.Box]
"""Spaces of the arrays of an observation, by their keys joined by "/"."""
ALONE = "observation"
"""What an array without keys is called."""
ROUNDING = 1e-5
"""Part of the width of the bounds by which an action may exceed them: float32 files of float64 actions."""


def entries_of(space: spaces.Space) -> Entries:
    """Return the arrays of an observation space.

    Raises:
        DemonstrationError: a part of it is neither a `Box` nor a `Dict`; names it.
    """
    return dict(_entries(space, ()))


def _entries(space: spaces.Space, path: tuple[str, ...]) -> Iterator[tuple[str, spaces.Box]]:
    if isinstance(space, spaces.Dict):
        for key, inside in space.spaces.items():
            yield from _entries(inside, (*path, key))
    elif isinstance(space, spaces.Box):
        yield "/".join(path) or ALONE, space
    else:
        raise DemonstrationError(f"entry {'/'.join(path)!r} of the observations is {space}: it must be a Box or a Dict of them")


def flat(observations: Any, path: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Return the arrays of observations by their keys joined by "/"."""
    if isinstance(observations, Mapping):
        return {name: one for key, value in observations.items() for name, one in flat(value, (*path, key)).items()}
    return {"/".join(path) or ALONE: observations}


def unflat(arrays: Mapping[str, np.ndarray], space: spaces.Space) -> Any:
    """Return the inverse of `flat` for observations of a space."""
    if not isinstance(space, spaces.Dict):
        return arrays[ALONE]
    outer: dict[str, Any] = {}
    for name, array in arrays.items():
        *keys, last = name.split("/")
        inner = outer
        for key in keys:
            inner = inner.setdefault(key, {})
        inner[last] = array
    return outer


def is_image(space: spaces.Box) -> bool:
    """Return whether an entry is an image: bytes with two axes of a picture and perhaps channels."""
    return space.dtype == np.uint8 and len(space.shape) in (2, 3) and min(space.shape[:2]) >= 8


def check_episode(episode: Any, entries: Entries, action_space: spaces.Box, name: str) -> None:
    """Check lengths, shapes and numbers of an episode.

    Raises:
        DemonstrationError: names the entry, the step and what would be right.
    """
    steps = len(episode.actions)
    if steps == 0:
        raise DemonstrationError(f"{name} has no steps")
    arrays = flat(episode.observations)
    if arrays.keys() != entries.keys():
        raise DemonstrationError(f"{name} shows {sorted(arrays)}, its description says {sorted(entries)}")
    lengths = {f"observations {key!r}": len(array) for key, array in arrays.items()}
    wrong = {key: length for key, length in lengths.items() if length not in (steps, steps + 1)}
    for key in ("rewards", "terminations", "truncations"):
        if len(getattr(episode, key)) != steps:
            wrong[key] = len(getattr(episode, key))
    if wrong or len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} {key}" for key, length in (wrong or lengths).items())
        raise DemonstrationError(
            f"lengths disagree in {name}: it has {steps} actions and {found}; observations must be {steps + 1}, or {steps} "
            "without the last one, and everything else as many as actions"
        )
    for key, array in arrays.items():
        _check_entry(array, entries[key], f"{key!r} in {name}")
    _check_actions(episode.actions, action_space, name)


def _check_entry(array: np.ndarray, space: spaces.Box, name: str) -> None:
    if array.dtype == object:
        shapes = [np.shape(one) for one in array]
        changed = next((step for step, shape in enumerate(shapes) if shape != shapes[0]), 0)
        raise DemonstrationError(f"{name} changes its size: {shapes[0]} at step 0, {shapes[changed]} at step {changed}")
    if array.shape[1:] != space.shape:
        raise DemonstrationError(f"{name} has shape {array.shape[1:]}, its description says {space.shape}")
    if (array.dtype == np.uint8) != (space.dtype == np.uint8):
        raise DemonstrationError(f"{name} is {array.dtype}, its description says {space.dtype}")
    _check_finite(array, name)


def _check_finite(array: np.ndarray, name: str) -> None:
    if array.dtype.kind not in "fiub":
        raise DemonstrationError(f"{name} is of type {array.dtype}: it must be numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        step, *index = (int(one) for one in np.argwhere(~np.isfinite(array))[0])
        raise DemonstrationError(f"{name} holds {array[(step, *index)]} at step {step}, place {index}: numbers must be finite")


def _check_actions(actions: np.ndarray, space: spaces.Box, name: str) -> None:
    if actions.shape[1:] != space.shape:
        raise DemonstrationError(f"actions in {name} have shape {actions.shape[1:]}, the description says {space.shape}")
    _check_finite(actions, f"'action' in {name}")
    with np.errstate(invalid="ignore"):
        width = np.where(np.isfinite(space.high - space.low), space.high - space.low, 0.0).astype(np.float64)
    outside = (actions < space.low - ROUNDING * width) | (actions > space.high + ROUNDING * width)
    if outside.any():
        step, *index = (int(one) for one in np.argwhere(outside)[0])
        place = tuple(index)
        raise DemonstrationError(
            f"action {index} at step {step} in {name} is {actions[(step, *place)]:g}, outside of the bounds "
            f"[{space.low[place]:g}, {space.high[place]:g}]: they must be as executed, in the environment's units"
        )


def check_match(about: Any, observation_space: spaces.Space, action_space: spaces.Box, environment: str) -> None:
    """Check that demonstrations are of an environment: keys, shapes, types and bounds, before anything is trained.

    An image of the environment may be a stack of `about.frames` of the recorded ones, along its channels or on an axis before
    them.

    Raises:
        DemonstrationError: names what differs.
    """
    wanted, entries = entries_of(observation_space), about.entries
    if wanted.keys() != entries.keys():
        raise DemonstrationError(
            f"the demonstrations show {sorted(entries)}, but {environment} shows {sorted(wanted)}: rename or leave out entries"
        )
    for key, space in entries.items():
        shown = wanted[key]
        allowed = [space.shape]
        if is_image(space) and about.frames > 1:
            allowed = stacked_shapes(space.shape, about.frames)
        if shown.shape not in allowed:
            raise DemonstrationError(
                f"entry {key!r} has shape {space.shape} in the demonstrations, but {shown.shape} in {environment}"
                + (f"; with {about.frames} frames it would be {' or '.join(map(str, allowed))}" if about.frames > 1 else "")
            )
        if (space.dtype == np.uint8) != (shown.dtype == np.uint8):
            raise DemonstrationError(
                f"entry {key!r} is {space.dtype} in the demonstrations, but {shown.dtype} in {environment}"
            )
    own = about.action_space
    if own.shape != action_space.shape:
        raise DemonstrationError(
            f"actions have shape {own.shape} in the demonstrations, but {action_space.shape} in {environment}"
        )
    bounded = np.isfinite(own.low) & np.isfinite(own.high)
    for side, one, other in (("lower", own.low, action_space.low), ("upper", own.high, action_space.high)):
        if not np.allclose(one[bounded], other[bounded], rtol=1e-5, atol=1e-8):
            raise DemonstrationError(
                f"the {side} bounds of actions differ, so their units may: {one} in the demonstrations, {other} in "
                f"{environment}"
            )


def stacked_shapes(shape: tuple[int, ...], frames: int) -> list[tuple[int, ...]]:
    """Return the shapes that a stack of images can have: along the channels, or on an axis before them."""
    channels = shape if len(shape) == 3 else (*shape, 1)
    return [(*channels[:2], channels[2] * frames), (frames, *shape)]
