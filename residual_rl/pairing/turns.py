"""Roll out a policy and its base in turns, so that drift over time affects both.

An episode's result may depend on when it is played: friction that warms up, a clock in a controller, running statistics in a
wrapper. So both always run at once: in each batch the base drives one randomly drawn half of the lanes and the policy the
other half; then the same initial states are played again with the two exchanged. The next batch uses the complementary halves.
With a single lane this is the order ABBA or BAAB. A drift that is the same in all lanes then cancels in the mean of the
differences, and its size is in their spread, and so in every interval that is computed from them.

The design is balanced and randomised (Fisher 1935, "The Design of Experiments"): if the two are equally good, which of them had
the better turn is chance.
"""

from collections.abc import Sequence
from typing import NamedTuple
from warnings import warn

import numpy as np

from residual_rl.errors import ControllerError, EpisodesLost
from residual_rl.evaluation import Act, Outcome, gives_up, joined, lost, play
from residual_rl.pairing.log import MOST_PATHS, Log
from residual_rl.tasks.lanes import Lanes
from residual_rl.types import Observation

ORDER_SEED = 0x7A1B


class Pairs(NamedTuple):
    """The outcomes of pairs of episodes `[N]`, in the order of their seeds."""

    base: Outcome
    policy: Outcome
    fingerprints: np.ndarray
    """[N, 2] of base and policy, see `Log`."""
    starts: np.ndarray
    """[N, 2] of their initial observations."""
    paths: list[tuple[np.ndarray, np.ndarray]]
    """The paths of base and policy in the first pairs: `[P, O]` each."""

    @property
    def distinct(self) -> np.ndarray:
        """The numbers of the pairs that are not copies of an earlier one `[M]`: equal starts with equal episodes are one."""
        return np.sort(np.unique(self.fingerprints, axis=0, return_index=True)[1])

    @property
    def repeated(self) -> np.ndarray:
        """Whether the policy's episode was the base's, bit for bit `[N]`."""
        return self.fingerprints[:, 0] == self.fingerprints[:, 1]

    def __add__(self, other: "Pairs") -> "Pairs":  # type: ignore[override]
        """Return these pairs, followed by the others."""
        return Pairs(
            joined([self.base, other.base]),
            joined([self.policy, other.policy]),
            np.concatenate([self.fingerprints, other.fingerprints]),
            np.concatenate([self.starts, other.starts]),
            (self.paths + other.paths)[:MOST_PATHS],
        )


class Turns:
    """Roll out pairs of episodes. The order depends only on `number` and on how many batches were played before."""

    def __init__(self, envs: Lanes, policy: Act, number: int = 0):
        """Draw the order from `number`.

        The policy also reports its base's action: `base_action`, clipped to [-1, 1], is the action of the base.
        """
        self.envs = envs
        self.policy = policy
        self._rng = np.random.default_rng([ORDER_SEED, number])
        self._last: np.ndarray | None = None
        """[E] whether the policy had the first turn in the last batch, if the next batch must have the opposite order."""
        self._kept = 0
        """Paths that have been kept."""
        self._losses = [0, 0]
        """Batches of base and policy that were lost in a row."""

    def play(self, seeds: Sequence[int]) -> Pairs:
        """Roll out one pair of episodes from each seed.

        Episodes that break are failures, as in `roll_out`; a warning gives their number and the reason.

        Raises:
            ControllerError: names the controller, the step and what is wrong with its proposal.
            WorldError: no environment is left, or whole batches were lost `GIVES_UP` times in a row or from the first seed to
                the last.
        """
        parts: list[Pairs] = []
        reasons: list[str] = []
        size = self.envs.num_envs
        self._losses = [0, 0]
        for start in range(0, len(seeds), size):
            chunk = list(seeds[start : start + size])
            padded = chunk + chunk[:1] * (size - len(chunk))  # the last lanes repeat an episode and are not counted
            pairs, why = self._batch(padded, len(chunk), len(seeds))
            parts.append(_first(pairs, len(chunk)))
            reasons += why
        if reasons:
            warn(
                f"{len(reasons)} of {2 * len(seeds)} episodes broke and count as failures: {reasons[0]}",
                RuntimeWarning,
                stacklevel=2,
            )
        found = parts[0]
        for part in parts[1:]:
            found = found + part
        return found

    def _batch(self, seeds: list[int], counted: int, of: int) -> tuple[Pairs, list[str]]:
        """Roll out a pair in each lane; return them, and the reasons of failures in the `counted` first lanes."""
        policy_first = self._order(counted)
        paths = min(MOST_PATHS - self._kept, counted)
        try:
            rounds = [self._round(seeds, mask, paths) for mask in (policy_first, ~policy_first)]
            index = [np.where(policy_first, 1, 0), np.where(policy_first, 0, 1)]  # in which round base and policy had a lane
        except (EpisodesLost, ControllerError):
            # One policy may have broken the lanes of the other, so each of them gets all lanes alone.
            alone = {side: self._alone(seeds, side, paths, of) for side in self._rng.permutation(2).tolist()}
            rounds, index = [alone[0], alone[1]], [np.zeros(len(seeds), dtype=int), np.ones(len(seeds), dtype=int)]
        self._kept += paths
        reasons = [reason for _, why, _ in rounds for lane, reason in why.items() if lane < counted]
        lanes = np.arange(len(seeds))
        outcomes = [
            Outcome(*(np.stack(values)[of_side, lanes] for values in zip(*(outcome for outcome, _, _ in rounds), strict=True)))
            for of_side in index
        ]
        prints, starts = (
            np.stack([np.stack([getattr(log, name) for _, _, log in rounds])[of_side, lanes] for of_side in index], axis=1)
            for name in ("fingerprints", "starts")
        )
        went = [
            (rounds[index[0][lane]][2].path(lane), rounds[index[1][lane]][2].path(lane))
            for lane in range(paths)
            if all(lane not in why for _, why, _ in rounds)
        ]
        return Pairs(outcomes[0], outcomes[1], prints, starts, went), reasons

    def _order(self, counted: int) -> np.ndarray:
        """Return the lanes `[E]` bool that the policy drives first: half of those that count, then the other half."""
        if self._last is not None and counted == self.envs.num_envs:
            order, self._last = ~self._last, None
            return order
        order = np.arange(self.envs.num_envs) >= counted
        order[:counted] = self._rng.permutation((np.arange(counted) + self._rng.integers(2)) % 2 == 1)
        self._last = order if counted == self.envs.num_envs else None
        return order

    def _round(self, seeds: list[int], driven: np.ndarray, paths: int) -> tuple[Outcome, dict[int, str], Log]:
        """Roll out an episode in each lane, by the policy if `driven` `[E]`, else by the base."""
        log = Log(len(seeds), self.envs.horizon, paths)

        def act(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
            base_action, action = self.policy(observation)
            return base_action, np.where(driven[:, None], action, base_action.clip(-1.0, 1.0))

        outcome, why = play(self.envs, Act(act, self.policy.start), seeds, log)
        return outcome, why, log

    def _alone(self, seeds: list[int], side: int, paths: int, of: int) -> tuple[Outcome, dict[int, str], Log]:
        """Roll out an episode in each lane by the base (0) or the policy (1); lost episodes are failures."""
        driven = np.full(len(seeds), side == 1)
        try:
            outcome, why, log = self._round(seeds, driven, paths)
            self._losses[side] = 0
        except (EpisodesLost, ControllerError) as error:
            self._losses[side] += 1
            if gives_up(error, self._losses[side], self._losses[side] * len(seeds) >= of):
                raise
            outcome, why = lost(self.envs), dict.fromkeys(range(len(seeds)), str(error))
            log = Log(len(seeds), self.envs.horizon, 0)
            log.fingerprints = np.array(seeds, dtype=np.uint64)
        return outcome, why, log


def _first(pairs: Pairs, count: int) -> Pairs:
    """Return the first `count` pairs of a batch."""
    base, policy = (Outcome(*(values[:count] for values in outcome)) for outcome in (pairs.base, pairs.policy))
    return Pairs(base, policy, pairs.fingerprints[:count], pairs.starts[:count], pairs.paths)
