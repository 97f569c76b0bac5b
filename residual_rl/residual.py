"""The composition: how a base action and a residual become an action.

base_action = clip(controller(observation), -1, 1)
action      = clip(base_action + scale * residual, -1, 1)        residual in [-1, 1], exactly 0 at the start
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from residual_rl.types import Array, Transition


def _some_entry_above_zero(scale: tuple[float, ...]) -> tuple[float, ...]:
    if not any(scale):
        raise ValueError("at least one entry must be above 0, else there is nothing to learn")
    return scale


PerEntry = Annotated[tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], Field(min_length=1)]
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)] | Annotated[PerEntry, AfterValidator(_some_entry_above_zero)]
"""One number for all entries of an action, or one for each; 0 leaves the entry to the base."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Composition:
    """How base action and residual become the action, and which of them the critic scores. Works on NumPy and JAX alike.

    Source: Silver et al. 2018, eq. 1; the fields are the points in which the paper, its code and later work differ.
    """

    scale: Scale = 1.0
    """The factor of the residual. 1 can cancel any base action, 2 can reverse it. With a number for each entry of the action, 0
    leaves that entry to the base, such as a gripper that only opens and closes."""
    clip_base: bool = True
    """Whether the base action is clipped before the sum. Without it, no residual can move a base action beyond 1 + scale."""
    critic_scores: Literal["action", "residual"] = "action"
    """The critic's second input. Only the executed action keeps its meaning when the goal is relabelled."""
    relabel: Literal["ask", "keep"] = "ask"
    """Whether to re-query the base at a relabelled goal, for this and the next observation, or to keep its recorded action, as
    published: then the stored residual does not match the executed action at the new goal."""
    actor_sees_base: bool = False
    """Whether the base action is an input of the actor and the critic."""
    rate_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The most by which an entry of the action may change from one step to the next, in units where the bounds are -1 and 1. It
    may change by more only as far as the base action itself does. None: no limit."""
    attenuation: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] | None = None
    """Shares of the budget between which the base's share of the action falls from 1 to 0, such as (0.3, 0.8). The policy
    is then the network alone, and the verdict compares it with the base. None: the base stays."""

    @model_validator(mode="after")
    def _network_can_stand_alone(self) -> "Composition":
        if self.attenuation is None:
            return self
        if not self.attenuation[0] < self.attenuation[1]:
            raise ValueError(f"attenuation must end after it begins, not {self.attenuation}")
        if (min(self.scale) if isinstance(self.scale, tuple) else self.scale) < 1.0:
            raise ValueError(
                f"attenuation needs a scale of at least 1, else the network alone reaches no bound; not {self.scale}"
            )
        if self.actor_sees_base or self.critic_scores != "action":
            raise ValueError("attenuation needs actor_sees_base=False and critic_scores='action': there is no base in the end")
        return self

    @property
    def stands_alone(self) -> bool:
        """Whether the policy is the network without the base."""
        return self.attenuation is not None

    def share(self, spent: float) -> float:
        """Return the base's share of the action in training, from 1 to 0, if this share of the budget is spent."""
        if self.attenuation is None:
            return 1.0
        begin, end = self.attenuation
        return min(1.0, max(0.0, (end - spent) / (end - begin)))

    def beside(self, base_action: Array) -> Array:
        """Return what the delivered residual is added to: the base action `[B, A]`, or zeros if the network stands alone."""
        return 0.0 * base_action if self.stands_alone else base_action

    def base_action(self, proposal: Array) -> Array:
        """Return the base action `[B, A]` that takes part in the sum, from what the controller proposed `[B, A]`."""
        return proposal.clip(-1.0, 1.0) if self.clip_base else proposal

    def alone(self, base_action: Array) -> Array:
        """Return the action without a residual: `[B, A]` in [-1, 1]."""
        return base_action.clip(-1.0, 1.0)

    def action(self, base_action: Array, residual: Array, scale: Any = None) -> Array:
        """Return the executed action before the rate limit: `[B, A], [B, A] -> [B, A]` in [-1, 1].

        `scale`, a number or `[A]`, replaces the one that it was trained with.
        """
        return self.unclipped(base_action, residual, scale).clip(-1.0, 1.0)

    def unclipped(self, base_action: Array, residual: Array, scale: Any = None) -> Array:
        """Return the sum itself: `[B, A], [B, A] -> [B, A]`."""
        return base_action + self._scale(residual, scale) * residual

    def limited(self, action: Array, base_action: Array, previous_action: Array, previous_base_action: Array) -> Array:
        """Return the action `[B, A]`, no further from the previous one than the rate limit, or than the base action moved."""
        if self.rate_limit is None:
            return action
        xp = action.__array_namespace__()
        # If the base acted before, this is the base action to the last bit.
        with_base = self.alone(base_action) + (previous_action - self.alone(previous_base_action))
        low = xp.minimum(previous_action - self.rate_limit, with_base)
        return action.clip(low, xp.maximum(previous_action + self.rate_limit, with_base))

    def residual(self, base_action: Array, action: Array) -> Array:
        """Return the residual that gives `action` if nothing was clipped, 0 if the scale is 0: `[B, A], [B, A] -> [B, A]`."""
        return self._unscaled(action - base_action)

    def scored(self, base_action: Array, residual: Array, scale: Any = None) -> Array:
        """Return the critic's input for a candidate residual: `[B, A]`."""
        return self.action(base_action, residual, scale) if self.critic_scores == "action" else residual

    def scored_of(self, transition: Transition) -> Array:
        """Return the critic's input for a stored transition: `[B, A]`."""
        return transition.action if self.critic_scores == "action" else transition.residual

    def _scale(self, residual: Array, scale: Any) -> Any:
        scale = self.scale if scale is None else scale
        if isinstance(scale, tuple):
            return residual.__array_namespace__().asarray(scale, dtype=residual.dtype)
        return scale

    def _unscaled(self, difference: Array) -> Array:
        scale = self._scale(difference, None)
        if not isinstance(self.scale, tuple):
            return difference / scale
        xp = difference.__array_namespace__()
        return xp.where(scale > 0.0, difference / xp.where(scale > 0.0, scale, 1.0), 0.0)


class Composer:
    """Compose base actions and residuals step by step; it holds the previous step, which the rate limit needs."""

    def __init__(self, composition: Composition):
        self._composition = composition
        self._previous: tuple[Array, Array] | None = None

    def start(self) -> None:
        """Drop the previous step: an episode starts, as if the base had acted before."""
        self._previous = None

    def __call__(self, base_action: Array, residual: Array, scale: Any = None) -> Array:
        """Return the executed action: `[B, A], [B, A] -> [B, A]` in [-1, 1]; for `scale` see `Composition.action`.

        Raises:
            ValueError: there is a rate limit, and the previous step had another number of episodes.
        """
        composition = self._composition
        action = composition.action(base_action, residual, scale)
        if composition.rate_limit is None:
            return action
        previous_action, previous_base_action = self._previous or (composition.alone(base_action), base_action)
        if previous_action.shape != action.shape:
            raise ValueError(
                f"with a rate limit steps follow each other: {len(previous_action)} episodes were under way, now there are"
                f" {len(action)}; call reset({len(action)}) when episodes start"
            )
        action = composition.limited(action, base_action, previous_action, previous_base_action)
        self._previous = action, base_action
        return action


SILVER2018 = Composition(scale=2.0, clip_base=False, critic_scores="residual", relabel="keep")
"""The composition of the published code. Differs from the paper's eq. 1, which neither doubles nor bounds the residual."""
