"""The networks of the published NoisyHook learner: one for all frames of an observation, whose outputs are averaged.

So they cannot compare frames. Source: the code published with Silver et al. 2018.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from residual_rl.learning.networks import MLP
from residual_rl.types import Array


class AveragedFrames(MLP):
    """Layers that get one frame at a time, each with the rest of the input, and whose outputs are averaged."""

    number: int = eqx.field(static=True)
    """Frames with which an input begins."""
    size: int = eqx.field(static=True)
    """Numbers in a frame."""

    def __init__(
        self, in_size: int, out_size: int, hidden: tuple[int, ...], layer_norm: bool, *, number: int, size: int, key: Array
    ):
        super().__init__(in_size - (number - 1) * size, out_size, hidden, layer_norm, key=key)
        self.number = number
        self.size = size

    def __call__(self, x: Array) -> Array:
        """`[..., I] -> [..., out]`."""
        frames = x[..., : self.number * self.size].reshape(*x.shape[:-1], self.number, self.size)
        rest = x[..., None, self.number * self.size :]
        each = jnp.concatenate([frames, jnp.broadcast_to(rest, (*frames.shape[:-1], rest.shape[-1]))], axis=-1)
        return super().__call__(each).mean(axis=-2)

    def as_layers(self) -> MLP:
        """Return the same function as plain layers: side by side for each frame, and averaged by the last one."""
        number, size = self.number, self.size
        first, *others = (layer.weight for layer in self.layers)
        of_frame, of_rest = first[:, :size], first[:, size:]
        blocks = jnp.kron(jnp.eye(number), of_frame)
        weights = [jnp.concatenate([blocks, jnp.tile(of_rest, (number, 1))], axis=1)]
        weights += [jnp.kron(jnp.eye(number), weight) for weight in others]
        biases = [jnp.tile(jnp.asarray(layer.bias), number) for layer in self.layers]
        weights[-1] = weights[-1].reshape(number, -1, weights[-1].shape[-1]).mean(axis=0)
        biases[-1] = jnp.asarray(self.layers[-1].bias)
        widths = [len(bias) for bias in biases]
        plain = MLP(weights[0].shape[1], widths[-1], tuple(widths[:-1]), layer_norm=False, key=jax.random.key(0))
        return eqx.tree_at(
            lambda mlp: [array for layer in mlp.layers for array in (layer.weight, layer.bias)],
            plain,
            [array for pair in zip(weights, biases, strict=True) for array in pair],
        )
