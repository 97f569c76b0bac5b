"""Several actors over the same critics and replay: how far each may go, and in which updates it learns.

A critic scores executed actions, whichever actor proposed them, so actors can share critics. The first actor is penalised for
the size of its residual, and a later one is not. Which of them is right differs between tasks and over time. The bandit has an
arm for each caution of each actor, and measures. Source of the need: published residual scales run from 0.01 to 1, tuned by
hand for each task.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.learning.networks import MLP
from residual_rl.types import Array

T = TypeVar("T")
MOST_CAUTION = 1e6
NO_GATE = -float("inf")  # a caution of None, as a number
Caution = Annotated[float, Field(ge=0, le=MOST_CAUTION)] | None


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Actor:
    """An actor's learning rule, and the cautions with which it is tried."""

    rate: float = Field(default=1e-3, gt=0)
    """Adam's learning rate."""
    penalty: float = Field(default=0.0, ge=0)
    """Weight, in the actor's loss, of the residual's square, summed over the entries of the action."""
    cautions: Annotated[tuple[Caution, ...], Field(min_length=1, max_length=8)] = (3.0,)
    """Standard deviations by which the mean advantage must exceed zero before the residual acts: an arm of the bandit for each.
    With 0 the critics' mean decides, however much they disagree; None is no gate: the residual acts everywhere."""
    turns: int = Field(default=1, ge=1, le=64)
    """Successive updates in which it learns, before the next actor does."""


class Arms(NamedTuple):
    """The arms of the bandit other than the base, numbered from 1: all cautions of the first actor, then of the second."""

    actor: np.ndarray
    """[K] int, of each arm."""
    caution: np.ndarray
    """[K] float32, of each arm."""


def arms_of(actors: Sequence[Actor]) -> Arms:
    """Return the arms of several actors."""
    pairs = [(number, caution) for number, actor in enumerate(actors) for caution in actor.cautions]
    cautions = [NO_GATE if caution is None else caution for _, caution in pairs]
    return Arms(np.array([number for number, _ in pairs], np.int32), np.array(cautions, np.float32))


def of_arm(actors: Sequence[Actor], arm: int) -> tuple[int, Caution]:
    """Return the actor's number and the caution of an arm from 1 on."""
    return [(number, caution) for number, actor in enumerate(actors) for caution in actor.cautions][arm - 1]


def whose_turn(actors: Sequence[Actor], updates: Array) -> Array:
    """Return the number of the actor that learns in an update: `[] int32`."""
    order = np.repeat(np.arange(len(actors), dtype=np.int32), [actor.turns for actor in actors])
    return jnp.asarray(order)[updates % len(order)]


def stacked(tree: T, count: int) -> T:
    """Return `count` copies of a tree of arrays, along a new leading axis."""
    return jax.tree.map(lambda array: jnp.stack([array] * count), tree)


def member(tree: T, number: Array | int) -> T:
    """Return one member of a tree of arrays with a leading axis."""
    return jax.tree.map(lambda array: array[number], tree)


def alone(tree: T, number: int) -> T:
    """Return one member of a tree of arrays, with a leading axis of one."""
    return jax.tree.map(lambda array: array[number : number + 1], tree)


def residuals_of(actors: MLP, features: Array) -> Array:
    """Return each actor's residual: `[B, F] -> [N, B, A]` in (-1, 1)."""
    return eqx.filter_vmap(lambda actor: jnp.tanh(actor(features)))(actors)


def optimizer() -> optax.GradientTransformation:
    """Return the actors' optimizer, for a learning rate of 1: each actor has its own rate."""
    return optax.adam(1.0)


def descend_member(
    actors: MLP, states: optax.OptState, number: Array, gradient: MLP, rate: Array
) -> tuple[MLP, optax.OptState]:
    """Take one step of one actor, given its gradient: return all actors and their optimizers' states."""
    actor, state = member(actors, number), member(states, number)
    change, state = optimizer().update(gradient, state, actor)  # type: ignore[arg-type]
    actor = eqx.apply_updates(actor, jax.tree.map(lambda array: rate * array, change))
    return jax.tree.map(lambda whole, part: whole.at[number].set(part), (actors, states), (actor, state))
