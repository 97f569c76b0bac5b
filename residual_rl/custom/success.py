"""Which steps decide whether an episode is a success: the last one, any one, or several in a row."""

from typing import Annotated

import numpy as np
from pydantic import Field

from residual_rl.errors import ResidualRLError

LAST, ONCE, HELD = "last", "once", "held:"
MOST_HELD = 1_000_000  # steps
Rule = Annotated[str, Field(pattern=r"^(last|once|held:[1-9][0-9]{0,5})$")]
"""`"last"`: at the last step. `"once"`: at any step. `"held:N"`: at N steps in a row, anywhere in the episode."""


def checked(rule: str) -> str:
    """Return the rule.

    Raises:
        ResidualRLError: there is no such rule.
    """
    number = rule.removeprefix(HELD) if isinstance(rule, str) else ""
    if rule in (LAST, ONCE) or (number != rule and number.isascii() and number.isdigit() and 1 <= int(number) < MOST_HELD):
        return rule if rule in (LAST, ONCE) else f"{HELD}{int(number)}"
    raise ResidualRLError(
        f'success is {rule!r}; it must be "last" (the last step decides), "once" (any step does) or "held:N" (N steps in a row)'
    )


class Judge:
    """Decide by a rule which of the parallel episodes are a success so far."""

    def __init__(self, rule: str, num_envs: int):
        self.rule = rule
        self._needed = {LAST: 0, ONCE: 1}.get(rule) if rule in (LAST, ONCE) else int(rule.removeprefix(HELD))
        self.num_envs = num_envs
        self.reset()

    def reset(self) -> None:
        """Begin an episode in each lane."""
        self.last = np.zeros(self.num_envs, dtype=bool)
        """`[E]` whether the environment reported success at the latest step."""
        self.longest = np.zeros(self.num_envs, dtype=int)
        """`[E]` the most steps in a row at which it did."""
        self._in_row = np.zeros(self.num_envs, dtype=int)

    @property
    def once(self) -> np.ndarray:
        """Whether the environment has reported success at some step: `[E]` bool."""
        return self.longest > 0

    def after(self, success: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Count a step in, and return which episodes are a success so far: `[E]` bool.

        Args:
            success: `[E]` bool, as the environment reports it at this step.
            ended: `[E]` bool, lanes whose episode had ended before it; they do not count any more.
        """
        self.last = np.where(ended, self.last, success)
        self._in_row = np.where(ended, self._in_row, np.where(success, self._in_row + 1, 0))
        self.longest = np.maximum(self.longest, self._in_row)
        return self.last.copy() if not self._needed else self.longest >= self._needed
