"""Assign seeds to episodes. Training, checkpoint selection and the verdict never share a seed."""

from enum import IntEnum

EPISODES_PER_RUN = 10_000_000
LARGEST_SEED = 2**31 - 1
"""Of simulators with signed 32-bit seeds. NumPy's global generator and Gymnasium take more."""
MOST_LANES = 1_000_000  # of a vector environment, which counts up from the first seed
MAX_EPISODES = 1_000_000  # of one evaluation


class Purpose(IntEnum):
    """The first seed of each purpose.

    Confirmation repeats the verdict's comparison on fresh states. Tuning is for designing a controller before any learning.
    Interim judgements of an unfinished run have states that its final verdict does not use. Preparation is for making a base
    inside the run, demonstration for recording episodes.
    """

    VERDICT = 0
    SELECTION = 1_000_000
    CONFIRMATION = 2_000_000
    TUNING = 3_000_000
    INTERIM = 4_000_000
    PROBE = 5_000_000
    DEMONSTRATION = 6_000_000
    PREPARATION = 7_000_000
    TRAINING = EPISODES_PER_RUN


def evaluation_seeds(purpose: Purpose, episodes: int) -> list[int]:
    """Return the seeds of an evaluation: the same for every run, so that runs can be compared.

    Raises:
        ValueError: if so many episodes would use another purpose's seeds.
    """
    if not 1 <= episodes <= MAX_EPISODES:
        raise ValueError(f"episodes must be between 1 and {MAX_EPISODES}, not {episodes}")
    return list(range(purpose, purpose + episodes))


def training_seed(run_seed: int, episode: int) -> int:
    """Return the seed of one training episode of one run.

    From run seed 429 on it exceeds 2^32, which Gymnasium accepts; user-supplied environments get `seed_32` of it.

    Raises:
        ValueError: the run's seed is negative, or the run has too many episodes.
    """
    if run_seed < 0 or not 0 <= episode < EPISODES_PER_RUN:
        raise ValueError(f"no training seed for run seed {run_seed}, episode {episode}: a run has {EPISODES_PER_RUN} episodes")
    return Purpose.TRAINING + run_seed * EPISODES_PER_RUN + episode


def seed_32(seed: int) -> int:
    """Return the seed for a simulator that takes 32 bits: the same up to 2^31, else one below it that trains as well.

    A training seed never becomes one of those that evaluations use, for any seed of the run.
    """
    last = LARGEST_SEED - MOST_LANES
    return seed if seed <= last else Purpose.TRAINING + (seed - Purpose.TRAINING) % (last - Purpose.TRAINING)
