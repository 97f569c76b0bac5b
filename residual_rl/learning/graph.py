"""The part of a policy that a bundle can hold: networks of fully connected layers, and a gate between residual and base."""

from typing import NamedTuple

from residual_rl.learning.networks import MLP
from residual_rl.learning.normalizer import Normalizer


class Gate(NamedTuple):
    """Critics that decide whether the residual acts."""

    critics: MLP
    """Every parameter has a leading axis [Q]."""
    caution: float | None
    """Standard deviations by which the mean advantage must exceed zero; None: the residual always acts."""


class Graph(NamedTuple):
    """A residual as a function that a bundle can hold: `tanh(actor(normalised features))` if the gate is open."""

    actor: MLP
    normalizer: Normalizer
    features: tuple[str, ...]
    """The networks' inputs, joined in this order: names of `bundles.runtime.FEATURES`."""
    gate: Gate | None = None

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the actor's hidden layers."""
        return tuple(layer.weight.shape[-2] for layer in self.actor.layers[:-1])
