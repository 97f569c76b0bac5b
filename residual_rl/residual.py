"""The project's idea on one page: how a base action and a residual become an action.

base_action = clip(controller(observation), -1, 1)
action      = clip(base_action + scale * residual, -1, 1)        residual in [-1, 1], exactly 0 at the start

Where the controller only shows how it is done (`adds_base=False`), action = clip(scale * residual, -1, 1).
"""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.types import Array, Transition


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Composition:
    """How base action and residual become the action, and which of them the critic scores. Works on NumPy and JAX alike.

    Source: Silver et al. 2018, eq. 1; the fields name where the paper, its code and later work differ.
    """

    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Multiplies the residual. 1 can cancel any base action, 2 can reverse it."""
    clip_base: bool = True
    """Whether the base action is clipped before the sum. Without it, no residual can move a base action beyond 1 + scale."""
    adds_base: bool = True
    """Whether the base action takes part in the sum. Without it the policy starts at action zero, not at the base."""
    critic_scores: Literal["action", "residual"] = "action"
    """What the critic is a function of. Only the executed action keeps its meaning when the goal is relabelled."""
    relabel: Literal["ask", "keep"] = "ask"
    """At a relabelled goal the base action is asked again, for this and the next observation; or is never looked at, as
    published: then the stored residual would have had another effect than the one that was seen."""
    actor_sees_base: bool = False
    """Whether the base action is an input of the actor and the critic."""

    def base_action(self, proposal: Array) -> Array:
        """The base action `[B, A]` that takes part in the sum, from what the controller proposed `[B, A]`."""
        return proposal.clip(-1.0, 1.0) if self.clip_base else proposal

    def action(self, base_action: Array, residual: Array) -> Array:
        """What the world receives: `[B, A], [B, A] -> [B, A]` in [-1, 1]."""
        return self.unclipped(base_action, residual).clip(-1.0, 1.0)

    def unclipped(self, base_action: Array, residual: Array) -> Array:
        """The sum itself: `[B, A], [B, A] -> [B, A]`."""
        return base_action + self.scale * residual if self.adds_base else self.scale * residual

    def residual(self, base_action: Array, action: Array) -> Array:
        """The inverse of `action` where nothing was clipped: `[B, A], [B, A] -> [B, A]`."""
        return (action - base_action if self.adds_base else action) / self.scale

    def scored(self, base_action: Array, residual: Array) -> Array:
        """What the critic is asked about, for a residual that might be applied: `[B, A]`."""
        return self.action(base_action, residual) if self.critic_scores == "action" else residual

    def scored_of(self, transition: Transition) -> Array:
        """What the critic is taught about, for a residual that was applied: `[B, A]`."""
        return transition.action if self.critic_scores == "action" else transition.residual


SILVER2018 = Composition(scale=2.0, clip_base=False, critic_scores="residual", relabel="keep")
"""As the published code ran it. Differs from the paper's eq. 1, which neither doubles nor bounds the residual."""
