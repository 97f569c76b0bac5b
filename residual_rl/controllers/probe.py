"""What kind of controller is it? Copies of it are asked a few questions; the controller itself stays as it is."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from residual_rl.controllers.adapted import Adapted, Character, EpisodeCopies, Lanes, PerLane, keeps_lanes, takes_no_mask
from residual_rl.controllers.controller import name_of, propose, remembers, start_episodes
from residual_rl.controllers.copying import CannotCopy, copy_of
from residual_rl.errors import ControllerError
from residual_rl.processes import usable_cores
from residual_rl.spaces import Layout
from residual_rl.types import Observation, map_observation, select, with_goal

ROWS = 5  # observations in a question, at least
TIMED = 3  # calls
SLOW = 0.5  # milliseconds for each observation; hindsight asks about ten thousand a cycle
WORTH_PROCESSES = 2.0  # milliseconds for each observation; to share out a batch takes about half of one
REPEATS = 4  # of a question
FAST, MORE_REPEATS = 0.2, 40  # milliseconds for each observation; what counts its steps may do so for a while unseen
AGAIN = 20  # observations about which a slow controller is asked a second time
SAME = 1e-3  # of an action in [-1, 1]; what another batch size or another machine may change


def character_of(
    call: Callable[[Any], Any],
    layout: Layout,
    observation: Observation,
    lanes: int | None,
    tell: Callable[[str], None] = lambda line: None,
) -> Character:
    """Asks copies of a controller about a few observations `[N]`; what it says about itself comes first.

    Two copies answer the same questions. If their answers differ, the controller is random. If they agree, but the answer to
    one question changes from time to time, it remembers.

    Args:
        call: the controller.
        layout: of its environment.
        observation: as an episode's start shows them.
        lanes: how many episodes run side by side; None for more than one.
        tell: is told, in a line, what could not be found out.

    Raises:
        ControllerError: it cannot be asked, or cannot be asked about several episodes at once.
    """
    name = name_of(call)
    rows = ROWS
    while rows in (*layout.action_shape, *(length for entry in layout.of_environment.observation for length in entry.shape)):
        rows += 1  # so that no axis of a single observation looks like a batch
    batch = select(observation, np.arange(rows) % len(observation["observation"]))
    copies, why = _copies_of(call)
    says = {key: getattr(call, key, None) for key in ("takes_batch", "is_random", "is_stateful")}
    own_lanes, has_reset = keeps_lanes(call), remembers(call)
    if says["is_stateful"] is False and not own_lanes:
        has_reset = False
    takes_batch = True if own_lanes else says["takes_batch"]
    if takes_batch is None:
        takes_batch = _takes_batch(copies, layout, batch, name)
    plain = Character(takes_batch, False, own_lanes, bool(layout.goal), False, 0.0)

    taken = _milliseconds(Adapted(copies(0), layout, plain), batch)
    each = taken / rows
    repeats = MORE_REPEATS if each < FAST else REPEATS
    is_random, stateful = bool(says["is_random"]), has_reset or bool(says["is_stateful"])
    if stateful:
        if says["is_random"] is None:
            is_random = _differs(
                [_after_start(copies(chance), layout, plain, own_lanes, batch, takes_batch) for chance in range(REPEATS)]
            )
    elif says["is_random"] is not True:
        first = _questioned(Adapted(copies(0), layout, plain), batch, repeats)
        changes = _differs(first)
        if why and changes:
            is_random = says["is_random"] is None
            tell(
                f"{name} answers the same question in different ways, and cannot be copied ({why}), so whether it is random or "
                "remembers is not known: is_random = True or is_stateful = True says so. It is taken to be random"
            )
        elif says["is_random"] is None:
            second = _questioned(Adapted(copies(1), layout, plain), batch, repeats)
            is_random = len(first) != len(second) or _differs([np.stack(first), np.stack(second)])
        if changes and not is_random and not why and says["is_stateful"] is None:
            stateful = True
            tell(
                f"{name} remembers: it answers the same question differently after others, and its copies do so alike. Each "
                "episode gets a copy of it, as it is now. If that is wrong: is_stateful = False; a method reset(), which is "
                "called where an episode starts, makes copies cheaper"
            )
    kept: Lanes = "mask"
    if own_lanes and getattr(call, "makes_each", False):
        kept = "made"
    elif stateful and not own_lanes:
        kept = "copied"
        if why and not (lanes == 1 and has_reset):
            raise ControllerError(
                f"the memory of {name!r} is that of one episode (its reset takes no mask), several run side by side, and it "
                f"cannot be copied ({why}): pass residual_rl.per_lane(make), where make() gives a fresh one, or let "
                "reset(mask) and the call take a batch"
            )
    can_be_asked = not (is_random or stateful) and each <= SLOW
    return Character(
        takes_batch=takes_batch,
        is_random=is_random,
        remembers=stateful,
        reads_goal=bool(layout.goal) and getattr(call, "reads_goal", True),
        asked_again=not (is_random or stateful) and getattr(call, "asked_again", can_be_asked),
        milliseconds=round(taken if takes_batch else each, 4),
        lanes=kept,
    )


def one_to_try(call: Any, character: Character) -> Any:
    """Return a controller to roll out before anything counts: a copy of one that a rollout would change."""
    if not (character.is_random or character.remembers):
        return call  # it may read the very environment that is stepped, which its copy could not
    return _copies_of(call)[0](0)


def judged_by_episodes(
    base: Adapted, character: Character, observation: Observation, proposed: np.ndarray, tell: Callable[[str], None]
) -> Character:
    """Compares what a controller proposed in its first episodes with what it answers about the same observations afterwards.

    Args:
        base: what was rolled out.
        character: what it was found to be.
        observation: of all steps `[N]`.
        proposed: what it proposed there `[N, A]`, clipped to [-1, 1].
        tell: is told, in a line, that it depends on something that it is not shown.

    Returns:
        The character; one that depends on more than what it is shown is not asked again, and the residual sees its proposals.
    """
    if character.is_random or character.remembers:
        return character
    name, size = base.__name__, base.layout.action_size
    if character.milliseconds > SLOW:
        rows = np.linspace(0, len(proposed) - 1, min(len(proposed), AGAIN)).astype(int)
        observation, proposed = select(observation, rows), proposed[rows]
    answers = propose(base, observation, size).clip(-1.0, 1.0)
    shown = np.concatenate([observation["observation"], observation["desired_goal"], observation["achieved_goal"]], axis=1)
    varied = bool(np.ptp(shown, axis=0).max(initial=0.0) > 0.0)
    constant = varied and bool((answers == answers[0]).all())
    if np.abs(answers - proposed).max(initial=0.0) > SAME:
        tell(
            f"{name} does not answer as it did in its episodes when it is shown the same observations again: it depends on "
            "something that it is not shown, such as a clock, or a simulator that it reads. Its proposals are kept as they were"
        )
        return replace(character, is_random=True, asked_again=False)
    if constant:
        tell(
            f"{name} proposes the same whatever it is shown, "
            f"{np.array2string(base.layout.from_unit(answers[0]), precision=4)}: if it reads a simulator of its own, such as "
            "an environment that it closes over, that is not the one that is controlled; let it read the observation that it "
            "is called with"
        )
    return character


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


def _copies_of(call: Any) -> tuple[Callable[[int], Any], str]:
    """What gives copies of a controller, or, with the reason, itself if it cannot be copied."""

    def started(one: Any) -> Any:
        if remembers(one) and takes_no_mask(one):
            one.reset()
        return one

    if isinstance(call, PerLane) and not isinstance(call, EpisodeCopies):
        return (lambda chance: PerLane(call.make)), ""
    if getattr(call, "is_random", None) is False and getattr(call, "is_stateful", None) is False:
        return (lambda chance: started(call)), ""
    try:
        copy_of(call)
    except CannotCopy as error:
        return (lambda chance: started(call)), str(error)
    return (lambda chance: started(copy_of(call, chance))), ""


def _milliseconds(adapted: Adapted, batch: Observation) -> float:
    """The least that a call takes: whatever else goes on can only add to it. The first call may compile."""
    times: list[float] = []
    for _ in range(1 + TIMED):
        start_episodes(adapted, len(batch["observation"]))
        clock = time.perf_counter()
        try:
            propose(adapted, batch, adapted.layout.action_size)
        except ControllerError:  # as of one that follows a path, and has come to its end
            if not times:
                raise
            break
        times.append((time.perf_counter() - clock) * 1e3)
    return min(times[1:], default=times[0])


def _questioned(adapted: Adapted, batch: Observation, repeats: int) -> list[np.ndarray]:
    """Its answers to one question, asked again and again, and after others; NaN, and no more, if it fails to answer."""
    size, last = adapted.layout.action_size, len(batch["observation"]) - 1
    others = [select(batch, slice(last, None, -1)), _moved(batch)]
    answers: list[np.ndarray] = []
    for question in [batch] * repeats + others + [batch]:
        try:
            answer = propose(adapted, question, size)
        except ControllerError:
            if not answers:
                raise
            return [*answers, np.full_like(answers[0], np.nan)]
        if question is batch:
            answers.append(answer)
    return answers


def _moved(batch: Observation) -> Observation:
    """Other observations; what an environment showed as bytes stays as it is."""
    moved = map_observation(lambda array: array + 0.01, batch)
    return Observation(**{**moved, "shown": batch["shown"]}) if "shown" in batch else moved


def _after_start(
    call: Any, layout: Layout, plain: Character, own_lanes: bool, batch: Observation, takes_batch: bool
) -> np.ndarray:
    """What a controller that remembers proposes at the start of episodes, one for each observation of a batch."""
    if own_lanes:
        adapted = Adapted(call, layout, plain)
        start_episodes(adapted, len(batch["observation"]))
        return propose(adapted, batch, layout.action_size)
    about = select(batch, slice(0, 1)) if takes_batch else batch
    return propose(Adapted(call, layout, plain), about, layout.action_size)


def _differs(answers: list[np.ndarray]) -> bool:
    return any(not np.array_equal(answers[0], answer, equal_nan=True) for answer in answers[1:])


def _takes_batch(copies: Callable[[int], Any], layout: Layout, batch: Observation, name: str) -> bool:
    """Whether it answers a batch with a batch. What fits both, and says two things, is asked about one at a time."""
    answers, complaints = {}, {}
    for takes_batch in (True, False):
        adapted = Adapted(copies(0), layout, Character(takes_batch, False, False, True, False, 0.0))
        try:
            answers[takes_batch] = adapted(batch)
        except Exception as error:
            complaints[takes_batch] = f"{type(error).__name__}: {error}"
    if not answers:
        raise ControllerError(
            f"controller {name!r} answers neither a batch of observations ({complaints[True]}) nor a single one "
            f"({complaints[False]})"
        )
    if len(answers) == 1:
        return True in answers
    again = Adapted(copies(0), layout, Character(False, False, False, True, False, 0.0))(batch)
    deterministic = np.array_equal(again, answers[False], equal_nan=True)
    return not deterministic or np.allclose(answers[True], answers[False], rtol=1e-3, atol=1e-4, equal_nan=True)
