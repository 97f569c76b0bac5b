"""The cross-entropy method: improve a sequence of actions by sampling around it.

Source: Chua et al. 2018, section 5; the truncated normal and the smoothing are those of the code published with it.
"""

from collections.abc import Callable
from typing import Annotated, Self

import jax
import jax.numpy as jnp
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from residual_rl.pets.sampling import Propagation
from residual_rl.types import Array

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PlannerSettings:
    """How the planner searches. The defaults are for two cores."""

    horizon: Count = 25
    """Steps that it plans ahead. Published for the pusher: 25."""
    candidates: Annotated[int, Field(ge=2)] = 60
    """Sequences of actions in each round of the search. Published: 500."""
    elites: Count = 6
    """The best of them, around which the next round samples. Published: 50."""
    rounds: Count = 3
    """Rounds for each action. Published: 5."""
    particles: Count = 5
    """Imagined episodes of each sequence, a multiple of the number of networks. Published: 20."""
    propagation: Propagation = "tsinf"
    """Which network moves a particle: a new one at each step ("ts1"), or always the same ("tsinf")."""
    deviation: Annotated[float, Field(gt=0.0)] = 0.5
    """Standard deviation of the actions in the first round; the bounds are -1 and 1. Published: 0.5."""
    smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of the last round's mean and variance that is kept. Published: 0.1."""
    hold: Count = 5
    """Steps for which a deviation from the mean is held. Published: 1. Few sequences find more with longer ones."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.elites > self.candidates:
            raise ValueError(f"there cannot be more elites ({self.elites}) than candidates ({self.candidates})")
        return self


def search(score: Callable[[Array, Array], Array], mean: Array, keys: Array, settings: PlannerSettings) -> tuple[Array, Array]:
    """Return better sequences `[E, T, A]` than the given ones, and the best return that was seen around each `[E]`.

    Args:
        score: `actions [E, C, T, A], keys [E] -> [E, C]`, more is better.
        mean: `[E, T, A]` the sequences to begin with, between -1 and 1.
        keys: `[E]` random keys; a lane's result depends on its own alone.
        settings: see `PlannerSettings`.
    """
    kept = settings.smoothing

    def one_round(carried: tuple[Array, Array], keys: Array) -> tuple[tuple[Array, Array], Array]:
        mean, variance = carried
        pairs = jax.vmap(jax.random.split)(keys)
        actions = _around(mean, variance, pairs[:, 0], settings)
        scores = score(actions, pairs[:, 1])
        best, which = jax.lax.top_k(scores, settings.elites)
        elites = jnp.take_along_axis(actions, which[:, :, None, None], axis=1)
        mean = kept * mean + (1.0 - kept) * elites.mean(axis=1)
        variance = kept * variance + (1.0 - kept) * elites.var(axis=1)
        return (mean, variance), best[:, 0]

    of_rounds = jnp.swapaxes(jax.vmap(lambda key: jax.random.split(key, settings.rounds))(keys), 0, 1)
    begin = mean, jnp.full_like(mean, settings.deviation**2)
    (mean, _), best = jax.lax.scan(one_round, begin, of_rounds)
    return mean, best[-1]


def _around(mean: Array, variance: Array, keys: Array, settings: PlannerSettings) -> Array:
    """Return candidates `[E, C, T, A]` within the bounds, whose deviations from the mean are held for some steps."""
    _, steps, size = mean.shape
    knots = -(-steps // settings.hold)
    shape = (settings.candidates, knots, size)
    drawn = jax.vmap(lambda key: jax.random.truncated_normal(key, -2.0, 2.0, shape))(keys)
    held = jnp.repeat(drawn, settings.hold, axis=2)[:, :, :steps]
    room = jnp.minimum(jnp.square((mean + 1.0) / 2.0), jnp.square((1.0 - mean) / 2.0))  # two deviations end at the bound
    return mean[:, None] + held * jnp.sqrt(jnp.minimum(room, variance))[:, None]
