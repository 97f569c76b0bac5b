"""Which seed starts which episode. Training, selection of a checkpoint and the verdict never share one."""

from enum import IntEnum

EPISODES_PER_RUN = 10_000_000


class Purpose(IntEnum):
    """The first seed of each use."""

    VERDICT = 0
    SELECTION = 1_000_000
    TRAINING = EPISODES_PER_RUN


def evaluation_seeds(purpose: Purpose, episodes: int) -> list[int]:
    """Seeds of an evaluation: the same for every run, so that runs can be compared.

    Raises:
        ValueError: if so many episodes would use another purpose's seeds.
    """
    limit = 1_000_000
    if not 1 <= episodes <= limit:
        raise ValueError(f"episodes must be between 1 and {limit}, not {episodes}")
    return list(range(purpose, purpose + episodes))


def training_seed(run_seed: int, episode: int) -> int:
    """Seed of one training episode of one run."""
    return Purpose.TRAINING + run_seed * EPISODES_PER_RUN + episode
