"""The first episodes in a user-supplied environment: of the controller alone, and with exploration noise."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from residual_rl.controllers.controller import Controller
from residual_rl.custom.opened import LONGEST, Opened
from residual_rl.custom.sources import ForeignLanes
from residual_rl.errors import ControllerError, ResidualRLError, WorldError
from residual_rl.presets import PRESETS
from residual_rl.residual import Composition
from residual_rl.rollout import Actor, collect
from residual_rl.seeds import Purpose
from residual_rl.types import Transition

LOOKED_AT = 400  # steps
MOST_EPISODES = 4  # for that, of one lane
MOST_LOST = 12  # of one lane, until one is not lost
FEWEST_FOR_A_LIMIT = 2  # episodes that end after as many steps
DISTURBED = Purpose.PROBE + 1_000_000  # first seed of disturbed episodes


class Seen(NamedTuple):
    """Recorded episodes."""

    steps: list[Transition]
    """The transitions of each, `[T]`."""
    last: list[bool]
    """Whether the environment reported success at its last step."""
    once: list[bool]
    """Whether it did so at any step."""


def undisturbed(opened: Opened, lanes: ForeignLanes, base: Controller) -> Seen:
    """Roll out episodes of the base alone.

    Raises:
        ControllerError: the controller failed.
        WorldError: every episode failed.
    """
    least = 1 if opened.horizon else FEWEST_FOR_A_LIMIT
    seen, reasons = _played(lanes, base, Composition(), _zero, Purpose.PROBE, least)
    if not seen.steps:
        raise WorldError(f"{opened.name} fails in its first episodes: {reasons[0]}")
    return seen


def disturbed(lanes: ForeignLanes, base: Controller, composition: Composition) -> list[Transition]:
    """Roll out episodes `[T]` of the base with exploration noise, which show how rewards vary beside its path.

    A base that never varies shows nothing about the size of differences. Empty if base or environment fail under noise.
    """
    rng, usual = np.random.default_rng(DISTURBED), PRESETS["default"][1]["algorithm"]

    def noise(_: object, base_action: np.ndarray, step: int) -> np.ndarray:
        noisy = (usual.noise * rng.standard_normal(base_action.shape)).clip(-1.0, 1.0)
        uniform = rng.uniform(-1.0, 1.0, base_action.shape)
        choice = rng.random((len(base_action), 1))
        explored = np.where(choice < usual.random_ratio + usual.noise_ratio, noisy, 0.0)
        return np.where(choice < usual.random_ratio, uniform, explored)

    try:
        return _played(lanes, base, composition, noise, DISTURBED, 1)[0].steps
    except ControllerError:
        return []


def horizon_of(name: str, horizon: int | None, episodes: Sequence[Transition], tell: Callable[[str], None]) -> int:
    """Return the steps after which an episode ends: `horizon`, or else the limit that the first episodes show.

    Raises:
        ResidualRLError: they do not show it.
    """
    lengths = [len(one.reward) for one in episodes]
    if horizon is not None:
        return horizon
    cut = [length for length, one in zip(lengths, episodes, strict=True) if one.truncated[-1]]
    if max(lengths) >= LONGEST:
        why = f"one of the first episodes had not ended after {LONGEST:,} steps"
    elif cut:
        differ = "" if len(set(cut)) == 1 else ", the longest of those that it truncated; longer ones will be cut there"
        tell(f"{name}: no time limit is given; its first episodes show one of {max(cut):,} steps{differ} (or pass horizon=)")
        return max(cut)
    elif looks_like_a_time_limit(episodes):
        return lengths[0]
    else:
        why = f"its first episodes ended with `terminated` after {', '.join(str(length) for length in sorted(lengths))} steps"
    raise ResidualRLError(
        f"{name} has no time limit ({why}), and what a step is worth depends on it: pass horizon=, the steps after which an "
        "episode is cut"
    )


def looks_like_a_time_limit(episodes: Sequence[Transition]) -> bool:
    """Return whether all episodes end with `terminated` after the same number of steps."""
    lengths = {len(one.reward) for one in episodes}
    every = all(one.terminated[-1] for one in episodes)
    return len(episodes) >= FEWEST_FOR_A_LIMIT and every and len(lengths) == 1 and lengths != {1}


def _zero(_: object, base_action: np.ndarray, step: int) -> np.ndarray:
    return np.zeros_like(base_action)


def _played(
    lanes: ForeignLanes, base: Controller, composition: Composition, act: Actor, first_seed: int, least: int
) -> tuple[Seen, list[str]]:
    """Roll out episodes of at least `LOOKED_AT` steps together; return them, and the reasons of those that failed."""
    seen, reasons = Seen([], [], []), list[str]()
    for number in range(MOST_LOST):
        if number >= MOST_EPISODES and seen.steps:
            break
        seeds = [first_seed + number * lanes.num_envs + lane for lane in range(lanes.num_envs)]
        found, dropped = collect(lanes, base, composition, act, seeds)
        reasons += dropped
        for episode in found:
            seen.steps.append(episode.transitions)
            seen.last.append(bool(lanes.judge.last[episode.lane]))
            seen.once.append(bool(lanes.judge.once[episode.lane]))
        if sum(len(steps.reward) for steps in seen.steps) >= LOOKED_AT and len(seen.steps) >= least:
            break
    return seen, reasons
