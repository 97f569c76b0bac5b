"""The layout of an environment, from its Gymnasium spaces."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from residual_rl.errors import ResidualRLError
from residual_rl.spaces.layout import GOAL_KEYS, LARGEST_BOUND, Entry, Layout


def layout_of(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> Layout:
    """The layout of an environment with these spaces, of a single episode.

    Raises:
        ResidualRLError: they cannot work; says why.
    """
    shape, dtype, low, high = _action(action_space)
    observation, goal = observation_space, ()
    if isinstance(observation_space, spaces.Dict) and set(observation_space.spaces) == set(GOAL_KEYS):
        inside = observation_space.spaces
        observation, goal = inside["observation"], tuple(_entries(inside["achieved_goal"], ()))
        desired = tuple(_entries(inside["desired_goal"], ()))
        if [(entry.path, entry.shape) for entry in goal] != [(entry.path, entry.shape) for entry in desired]:
            raise ResidualRLError("the observation space cannot work: achieved_goal and desired_goal differ in their shape")
    entries = tuple(_entries(observation, ()))
    if not sum(entry.size for entry in entries):
        raise ResidualRLError("the observation space is empty: a residual has nothing to go by")
    if goal and not sum(entry.size for entry in goal):
        raise ResidualRLError("the goals of the observation space are empty: leave them out")
    return Layout(entries, goal, shape, dtype, low, high)


def _action(space: spaces.Space[Any]) -> tuple[tuple[int, ...], str, tuple[float, ...], tuple[float, ...]]:
    if not isinstance(space, spaces.Box):
        raise ResidualRLError(
            f"the action space is {type(space).__name__}: a residual is added to the controller's action, which takes a "
            "gymnasium.spaces.Box of numbers with bounds"
        )
    if not np.issubdtype(space.dtype, np.floating):
        raise ResidualRLError(f"the action space is a Box of {space.dtype}: a residual needs floating-point numbers")
    low, high = space.low.ravel().astype(float), space.high.ravel().astype(float)
    if not len(low):
        raise ResidualRLError("the action space is empty: there is nothing to add a residual to")
    for index, (least, most) in enumerate(zip(low, high, strict=True)):
        if not (abs(least) <= LARGEST_BOUND and abs(most) <= LARGEST_BOUND):
            raise ResidualRLError(
                f"entry {index} of the action space lies in [{least:g}, {most:g}]: the scale of a residual comes from finite "
                "bounds; give the Box some, with gymnasium.wrappers.TransformAction for example, and leave out ClipAction, "
                "which takes them away: what is beyond them is clipped anyway"
            )
        if most - least < 1e-6:
            raise ResidualRLError(f"entry {index} of the action space lies in [{least:g}, {most:g}], which leaves no choice")
    return space.shape, str(space.dtype), tuple(low.tolist()), tuple(high.tolist())


def _entries(space: spaces.Space[Any], path: tuple[str, ...]) -> Iterator[Entry]:
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _entries(inner, (*path, str(key)))
    elif isinstance(space, spaces.Box | spaces.MultiBinary):
        yield Entry(path, tuple(int(length) for length in space.shape), str(space.dtype))
    else:
        where = f"entry {'/'.join(path)!r} of the observation space" if path else "the observation space"
        raise ResidualRLError(
            f"{where} is {type(space).__name__}: observations must be a gymnasium.spaces.Box, or a Dict of them "
            "(gymnasium.wrappers.FlattenObservation turns categories into numbers)"
        )
