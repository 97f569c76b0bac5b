"""Which seed starts which episode. Training, selection of a checkpoint and the verdict never share one."""

from enum import IntEnum

EPISODES_PER_RUN = 10_000_000
MAX_EPISODES = 1_000_000  # of one evaluation


class Purpose(IntEnum):
    """The first seed of each use.

    Confirmation asks again what the verdict said; tuning is what a controller is made with before anything is learned;
    preparation is of a base that is made inside of a run.
    """

    VERDICT = 0
    SELECTION = 1_000_000
    CONFIRMATION = 2_000_000
    TUNING = 3_000_000
    PREPARATION = 4_000_000
    PROBE = 5_000_000
    TRAINING = EPISODES_PER_RUN


def evaluation_seeds(purpose: Purpose, episodes: int) -> list[int]:
    """Seeds of an evaluation: the same for every run, so that runs can be compared.

    Raises:
        ValueError: if so many episodes would use another purpose's seeds.
    """
    if not 1 <= episodes <= MAX_EPISODES:
        raise ValueError(f"episodes must be between 1 and {MAX_EPISODES}, not {episodes}")
    return list(range(purpose, purpose + episodes))


def training_seed(run_seed: int, episode: int) -> int:
    """Seed of one training episode of one run.

    From run seed 429 on it is beyond 2^32, which Gymnasium's seeding takes, and NumPy's global one does not.

    Raises:
        ValueError: the run's seed is negative, or the run is too long to keep its seeds to itself.
    """
    if run_seed < 0 or not 0 <= episode < EPISODES_PER_RUN:
        raise ValueError(f"no training seed for run seed {run_seed}, episode {episode}: a run has {EPISODES_PER_RUN} episodes")
    return Purpose.TRAINING + run_seed * EPISODES_PER_RUN + episode
