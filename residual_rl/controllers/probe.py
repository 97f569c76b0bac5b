"""What kind of controller is it? A few questions at the start, each of which it could be asked anyway."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from residual_rl.controllers.adapted import Adapted, Character, PerLane, takes_no_mask
from residual_rl.controllers.controller import name_of, propose, remembers, start_episodes
from residual_rl.errors import ControllerError
from residual_rl.processes import usable_cores
from residual_rl.spaces import Layout
from residual_rl.types import Observation, map_observation, select, with_goal

ROWS = 5  # observations in a question, at least
TIMED = 3  # calls
SLOW = 0.5  # milliseconds for each observation; hindsight asks about ten thousand a cycle
WORTH_PROCESSES = 2.0  # milliseconds for each observation; to share out a batch takes about half of one


def character_of(call: Callable[[Any], Any], layout: Layout, observation: Observation, lanes: int | None) -> Character:
    """Asks a controller about a few observations `[N]`, and what it says about itself comes first.

    Args:
        call: the controller.
        layout: of its environment.
        observation: as an episode's start shows them.
        lanes: how many episodes run side by side; None for more than one.

    Raises:
        ControllerError: it cannot be asked, or what it remembers would be wrong.
    """
    name = name_of(call)
    rows = ROWS
    while rows in (*layout.action_shape, *(length for entry in layout.observation for length in entry.shape)):
        rows += 1  # so that no axis of a single observation looks like a batch
    batch = select(observation, np.arange(rows) % len(observation["observation"]))
    for_one_episode = remembers(call) and takes_no_mask(call)
    if for_one_episode and lanes != 1:
        raise ControllerError(
            f"the memory of {name!r} is that of one episode (its reset takes no mask), and several run side by side: pass "
            "residual_rl.per_lane(make), where make() gives a fresh one, or let reset(mask) and the call take a batch"
        )
    takes_batch = not for_one_episode if remembers(call) else getattr(call, "takes_batch", None)
    if takes_batch is None:
        takes_batch = _takes_batch(call, layout, batch)

    def asked(about: Observation) -> np.ndarray:
        return propose(adapted, about, layout.action_size)

    def started() -> None:
        start_episodes(adapted, rows)

    adapted = Adapted(call, layout, Character(takes_batch, False, remembers(call), bool(layout.goal), False, 0.0))

    def timed() -> float:
        started()
        clock = time.perf_counter()
        asked(batch)
        return (time.perf_counter() - clock) * 1e3

    timed()  # the first call may compile
    taken = min(timed() for _ in range(TIMED))  # the least: whatever else goes on can only add to it
    is_random = getattr(call, "is_random", None)
    if is_random is None:
        is_random = _is_random(asked, started, batch, remembers(call), name)
    reads_goal = bool(layout.goal) and getattr(call, "reads_goal", True)
    can_be_asked = not (is_random or remembers(call)) and taken / rows <= SLOW
    return Character(
        takes_batch=takes_batch,
        is_random=is_random,
        remembers=remembers(call),
        reads_goal=reads_goal,
        asked_again=not (is_random or remembers(call)) and getattr(call, "asked_again", can_be_asked),
        milliseconds=round(taken if takes_batch else taken / rows, 4),
    )


def advice(call: Callable[[Any], Any], character: Character, lanes: int | None) -> str:
    """What would make a slow controller faster; empty where nothing would."""
    per_lane = isinstance(call, PerLane)
    each = character.milliseconds / ROWS if per_lane else character.milliseconds
    if (character.takes_batch and not per_lane) or each < WORTH_PROCESSES or lanes == 1 or usable_cores() == 1:
        return ""
    return (
        f"{name_of(call)} takes {each:.2g} ms for each observation: residual_rl.in_processes(make) asks in {usable_cores()} "
        "processes at once"
    )


def ignores_goal(controller: Adapted, observation: Observation) -> bool:
    """Whether a controller proposes the same at other goals, for every observation `[N]` of its own episodes."""
    desired, achieved = observation["desired_goal"], observation["achieved_goal"]
    size = controller.layout.action_size
    answer = propose(controller, observation, size)
    others = (np.roll(desired, 1, axis=0), achieved[::-1].copy(), desired + 0.1 * np.arange(1.0, 1.0 + desired.shape[1]))
    return all(np.array_equal(answer, propose(controller, with_goal(observation, other), size)) for other in others)


def _takes_batch(call: Callable[[Any], Any], layout: Layout, batch: Observation) -> bool:
    """Whether it answers a batch with a batch. What fits both, and says two things, is asked about one at a time."""
    answers, complaints = {}, {}
    for takes_batch in (True, False):
        adapted = Adapted(call, layout, Character(takes_batch, False, False, True, False, 0.0))
        try:
            answers[takes_batch] = adapted(batch)
        except Exception as error:
            complaints[takes_batch] = f"{type(error).__name__}: {error}"
    if not answers:
        raise ControllerError(
            f"controller {name_of(call)!r} answers neither a batch of observations ({complaints[True]}) nor a single one "
            f"({complaints[False]})"
        )
    if len(answers) == 1:
        return True in answers
    again = Adapted(call, layout, Character(False, False, False, True, False, 0.0))(batch)
    deterministic = np.array_equal(again, answers[False], equal_nan=True)
    return not deterministic or np.allclose(answers[True], answers[False], rtol=1e-3, atol=1e-4, equal_nan=True)


def _is_random(
    asked: Callable[[Observation], np.ndarray],
    started: Callable[[], None],
    batch: Observation,
    has_reset: bool,
    name: str,
) -> bool:
    """Whether it answers the same question in different ways, and not because it remembers."""
    answers = []
    for _ in range(5):
        started()
        answers.append(asked(batch))
    differs = any(not np.array_equal(answers[0], answer) for answer in answers[1:])
    if has_reset:
        return differs
    asked(select(batch, np.arange(len(batch["observation"]))[::-1]))
    asked(map_observation(lambda array: array + 0.01, batch))
    after_others = asked(batch)
    changes = np.diff(np.stack(answers)[1:], axis=0)
    # What is summed up or filtered changes by steps that grow or shrink evenly; chance does not.
    drifts = differs and np.allclose(changes[1] ** 2, changes[0] * changes[2], rtol=1e-3, atol=1e-12)
    if drifts or (not differs and not np.array_equal(after_others, answers[-1])):
        raise ControllerError(
            f"controller {name!r} remembers: it answers the same question differently after others. Episodes run side by side "
            "and begin anew, so it needs a reset(mask) for lanes, or residual_rl.per_lane(make). (One that is random says "
            "is_random = True.)"
        )
    return differs
