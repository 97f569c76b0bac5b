"""Roll the base out from the initial states of the latest training episodes, to compare it with exploration."""

import numpy as np

from residual_rl.diagnosis.evidence import Evidence
from residual_rl.diagnosis.gains import SameStarts
from residual_rl.presets import DIAGNOSED_EPISODES
from residual_rl.rollout import collect
from residual_rl.seeds import training_seed
from residual_rl.tasks.lanes import Lanes
from residual_rl.training.experiment import Experiment
from residual_rl.training.state import TrainingState
from residual_rl.types import Observation


def compare_from_same_starts(training: Experiment, state: TrainingState, envs: Lanes, evidence: Evidence) -> SameStarts | None:
    """Return the training episodes in which a residual acted, beside the base from the same initial states.

    Returns:
        None if there are none: no residual acted, a seed does not decide an episode's initial state, or the success of an
        episode is not known afterwards.
    """
    config, lanes = training.config, envs.num_envs
    if config.measured_by == "time":
        return None  # the replay does not tell which episodes failed
    scores = evidence.returns if config.measured_by == "return" else evidence.success
    acted = np.logical_or.reduceat((evidence.rows.residual != 0.0).any(axis=1), evidence.starts)
    if scores is None or not acted.any():
        return None
    of_base: dict[bytes, float] = {}
    cycles = max(1, min(DIAGNOSED_EPISODES, config.evaluation_episodes) // lanes)
    for cycle in range(max(0, state.cycle - cycles), state.cycle):
        seeds = [training_seed(config.seed, cycle * lanes + lane) for lane in range(lanes)]
        episodes, _ = collect(
            envs, training.controller, config.algorithm.composition, lambda _, action, step: np.zeros_like(action), seeds
        )
        for episode in episodes:
            of_base[_start(episode.transitions.observation, 0)] = episode.score(config.measured_by, envs.horizon)
    keys = [_start(evidence.rows.observation, row) for row in evidence.starts]
    pairs = [(score, of_base[key]) for score, key, acts in zip(scores, keys, acted, strict=True) if acts and key in of_base]
    return SameStarts(*np.array(pairs, dtype=np.float64).T) if pairs else None


def _start(observation: Observation, row: int) -> bytes:
    """Return an initial state as a key of a dictionary, in the precision of the replay."""
    return b"".join(observation[key][row].astype(np.float32).tobytes() for key in sorted(observation))
