"""Compare a policy with its base in turns, and stop as soon as the result is certain, if that is requested."""

from collections.abc import Sequence
from dataclasses import replace

from residual_rl.evaluation import Act
from residual_rl.pairing.style import style_distance
from residual_rl.pairing.turns import Turns
from residual_rl.statistics import ALPHA, Look, looks
from residual_rl.tasks.lanes import Lanes, timing_of
from residual_rl.types import Measure
from residual_rl.verdict import Comparison, Pairing, compared


def compare_in_turns(
    task: str,
    controller: str,
    envs: Lanes,
    policy: Act,
    seeds: Sequence[int],
    measured_by: Measure,
    *,
    pairing: Pairing = "paired",
    sequential: bool = False,
    stops_if_alike: bool = False,
) -> Comparison:
    """Compare a policy with its base from the same initial states.

    Args:
        task: its name.
        controller: the base's name.
        envs: lanes to roll out in.
        policy: also reports its base's actions, see `Turns`.
        seeds: of the episodes.
        measured_by: the measure of the comparison.
        pairing: whether episodes from the same initial state are compared with each other.
        sequential: whether to test the result several times, see `statistics.looks`, and to stop once it is certain.
        stops_if_alike: whether a look also stops if both acted the same in every step so far. That does not show that neither
            is worse: they may differ in rare states.

    Raises:
        ControllerError, WorldError: see `Turns.play`.
    """
    turns = Turns(envs, policy)
    plan = looks(len(seeds)) if sequential else [Look(len(seeds), ALPHA)]
    first, *later = plan
    pairs = turns.play(seeds[: first.episodes])

    def result(look: Look) -> Comparison:
        return compared(
            task,
            controller,
            pairs.base,
            pairs.policy,
            measured_by,
            pairing=pairing,
            distinct=pairs.distinct,
            alpha=look.alpha,
            planned=len(seeds) if sequential else None,
            timing=timing_of(envs),
        )

    found = result(first)
    for look in later:
        if found.better or found.worse or (stops_if_alike and not found.deviates):
            break
        pairs = pairs + turns.play(seeds[len(pairs.fingerprints) : look.episodes])
        found = result(look)
    return replace(found, style_distance=style_distance(pairs.paths))
