"""What DiscreteMPC's searches cost on Push: each move simulated as published, none twice, and none once the answer is certain.

    python studies/planner.py [--episodes 8]

Prints simulated moves and milliseconds of CPU time a proposal, for the planner alone and with noise added to what it proposes:
what the shares in its docstring are taken from. All three have to propose the same, or it stops.
"""

import argparse
import time
from contextlib import ExitStack, closing
from typing import NamedTuple
from unittest import mock

import numpy as np

from residual_rl.controllers import DiscreteMPC, planning
from residual_rl.evaluation import evaluation_envs
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.tasks import find_task

TASK = find_task("push")
NOISE = 0.3  # standard deviation, in an action's range of -1 to 1; picked, so that the hand leaves the planned way in each step


class Cost(NamedTuple):
    """Of one way to search."""

    simulated: float
    """Moves for each proposal."""
    milliseconds: float
    """CPU time for each proposal."""
    proposals: np.ndarray
    """[T, E, 4]"""


def simulated_again(remembered: planning.Remembered, states: np.ndarray, moves: np.ndarray) -> np.ndarray:
    return remembered.step(states, moves)


def never(tree: planning.Tree, expansions: int) -> bool:
    return False


FORGETFUL = mock.patch.object(planning.Remembered, "__call__", simulated_again)
THOROUGH = mock.patch.object(planning.Tree, "is_decided", never)
WAYS = {
    "each move simulated": (FORGETFUL, THOROUGH),
    "none twice": (THOROUGH,),
    "none once the answer is certain": (),
}
"""Name: what is left out of the planner as it is."""


def measured(episodes: int, noise: float) -> Cost:
    """The cost of a proposal, on average over whole episodes."""
    rng = np.random.default_rng(0)
    planner = DiscreteMPC(num_threads=1)
    simulated: list[int] = []
    proposals: list[np.ndarray] = []
    simulate = planner._simulate

    def counted(states: np.ndarray, moves: np.ndarray) -> np.ndarray:
        simulated.append(len(moves))
        return simulate(states, moves)

    planner.__dict__["_simulate"] = counted  # the class is frozen
    spent = 0.0
    with closing(planner), closing(evaluation_envs(TASK, episodes, 1, True)) as envs:
        observation, _ = envs.reset(seed=evaluation_seeds(Purpose.TUNING, episodes))
        for _ in range(TASK.spec.horizon):
            started = time.process_time()
            proposals.append(planner(observation))
            spent += time.process_time() - started
            disturbed = proposals[-1] + rng.normal(0.0, noise, proposals[-1].shape)
            observation, *_ = envs.step(np.clip(disturbed, -1.0, 1.0))
    asked = episodes * TASK.spec.horizon
    return Cost(sum(simulated) / asked, 1e3 * spent / asked, np.stack(proposals))


def main() -> None:
    """Each way, alone and disturbed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=8)
    episodes = parser.parse_args().episodes
    print("| moves simulated a proposal (ms) | alone | with noise |\n|---|---|---|")
    found: dict[float, np.ndarray] = {}
    for name, patches in WAYS.items():
        cells = []
        for noise in (0.0, NOISE):
            with ExitStack() as stack:
                for patch in patches:
                    stack.enter_context(patch)
                cost = measured(episodes, noise)
            if not np.array_equal(found.setdefault(noise, cost.proposals), cost.proposals):
                raise SystemExit(f"{name}: other proposals than before")
            cells.append(f"{cost.simulated:.1f} ({cost.milliseconds:.1f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
