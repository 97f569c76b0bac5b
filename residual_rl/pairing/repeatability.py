"""An A/A test: whether an environment repeats itself if it is started and driven in the same way.

It costs nothing: before training the policy is the base, so its first evaluation compares the base with itself.
"""

from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from residual_rl.evaluation import bounded
from residual_rl.pairing.turns import Pairs
from residual_rl.verdict import Pairing, in_digits


@dataclass(frozen=True)
class Repeatability:
    """The result of comparing the base with itself."""

    episodes: Annotated[int, Field(ge=1)]
    """Pairs from the same seed."""
    other_starts: Annotated[int, Field(ge=0)]
    """Pairs whose initial observations differ."""
    differing: Annotated[int, Field(ge=0)]
    """Pairs in which an observation or reward differs, however little."""
    other_returns: Annotated[int, Field(ge=0)]
    """Pairs whose returns differ."""
    return_noise: float
    """Mean |difference of the returns| of a pair."""
    other_success: Annotated[int, Field(ge=0)]
    """Pairs of which one is a success and the other is not."""
    controller_is_random: bool
    """Whether the controller is known to be stochastic."""

    @property
    def holds(self) -> bool:
        """Whether every episode was repeated bit for bit, so that the base need not be rolled out again."""
        return not self.differing

    @property
    def pairing(self) -> Pairing:
        """The pairing to use. If only the controller is stochastic, equal initial states still help a paired comparison."""
        return "paired" if self.holds or self.controller_is_random else "unpaired"

    @property
    def warning(self) -> str:
        """A message for the user; empty if the environment repeats itself."""
        if self.pairing == "paired":
            return ""
        same = "the same start and the same actions"
        if self.other_starts:
            same = f"the same seed (which gave other starts in {self.other_starts} episodes) and the same actions"
        gave = f"other rewards in {self.other_returns} of {self.episodes} episodes (returns differ by "
        gave += f"{in_digits(self.return_noise)} on average"
        gave += f", {self.other_success} ended in success once and not the other time)" if self.other_success else ")"
        if not self.other_returns:
            gave = f"other observations in {self.differing} of {self.episodes} episodes"
        return (
            f"{same} gave {gave}, though nothing is known to be random: the world changes with "
            "time, or its seed does not decide its chance. Base and policy are therefore played in turns in every evaluation, "
            "and compared unpaired, which needs more episodes for the same certainty; and a run that is stopped and resumed "
            "does not give the same numbers as one that was not"
        )


def repeatability(pairs: Pairs, controller_is_random: bool) -> Repeatability:
    """Return the repeatability from pairs in which the policy is the base."""
    base, again = bounded(pairs.base, pairs.policy)
    apart = np.abs(again.returns - base.returns)
    return Repeatability(
        episodes=len(apart),
        other_starts=int((pairs.starts[:, 0] != pairs.starts[:, 1]).sum()),
        differing=int((~pairs.repeated).sum()),
        other_returns=int(np.count_nonzero(apart)),
        return_noise=float(apart.mean()),
        other_success=int((again.success != base.success).sum()),
        controller_is_random=controller_is_random,
    )
