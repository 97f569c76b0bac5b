"""The networks of clones: an MLP for vectors, a narrow ResNet-18 for images.

The image network uses group normalization, not the batch normalization of the paper: a sample's features then depend on that
sample alone, so they are the same in training, in validation and with any number of environments, and there are no running
statistics that could follow the last batches.
"""

from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp

from residual_rl.clones.settings import Form

NEAR_ZERO = 1e-5
LARGE_IMAGE = 128
"""Pixels from which on the first layer is the published one, 7 x 7; below it is 5 x 5."""
PUBLISHED_WIDTH = 32
LAYOUT = "NHWC", "HWIO", "NHWC"


class Dense(eqx.Module):
    """A linear layer: `[B, I] -> [B, O]`. Weights uniform with variance 1 / I, bias with variance 1 / 3 of it."""

    weight: jax.Array
    bias: jax.Array

    def __init__(self, inputs: int, outputs: int, key: jax.Array):
        first, second = jax.random.split(key)
        bound = jnp.sqrt(3.0 / max(inputs, 1))
        self.weight = jax.random.uniform(first, (inputs, outputs), minval=-bound, maxval=bound)
        bound = jnp.sqrt(1.0 / max(inputs, 1))
        self.bias = jax.random.uniform(second, (outputs,), minval=-bound, maxval=bound)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs of a batch."""
        return x @ self.weight + self.bias


class Convolution(eqx.Module):
    """A convolution without bias, normalized in groups of channels: `[B, H, W, I] -> [B, H / stride, W / stride, O]`."""

    weight: jax.Array
    scale: jax.Array
    offset: jax.Array
    stride: int = eqx.field(static=True)
    groups: int = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, side: int, stride: int, key: jax.Array):
        # He et al. 2015: variance 2 / fan-out, a normal distribution cut at two deviations, which makes it narrower by 0.88.
        deviation = jnp.sqrt(2.0 / (side * side * outputs)) / 0.87962566
        self.weight = deviation * jax.random.truncated_normal(key, -2.0, 2.0, (side, side, inputs, outputs))
        self.scale, self.offset = jnp.ones(outputs), jnp.zeros(outputs)
        self.stride = stride
        self.groups = max(outputs // 16, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalized outputs of a batch."""
        reach = self.weight.shape[0] // 2
        y = jax.lax.conv_general_dilated(
            x, self.weight, (self.stride, self.stride), [(reach, reach)] * 2, dimension_numbers=LAYOUT
        )
        batch, height, width, channels = y.shape
        grouped = y.reshape(batch, height * width, self.groups, channels // self.groups)
        mean = grouped.mean(axis=(1, 3), keepdims=True)
        variance = jnp.square(grouped - mean).mean(axis=(1, 3), keepdims=True)
        normal = ((grouped - mean) * jax.lax.rsqrt(variance + NEAR_ZERO)).reshape(y.shape)
        return normal * self.scale + self.offset


class Block(eqx.Module):
    """Two convolutions and a shortcut around them."""

    first: Convolution
    second: Convolution
    shortcut: Convolution | None

    def __init__(self, inputs: int, outputs: int, stride: int, key: jax.Array):
        keys = jax.random.split(key, 3)
        self.first = Convolution(inputs, outputs, 3, stride, keys[0])
        self.second = Convolution(outputs, outputs, 3, 1, keys[1])
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else Convolution(inputs, outputs, 1, stride, keys[2])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs of a batch."""
        around = x if self.shortcut is None else self.shortcut(x)
        return jax.nn.relu(self.second(jax.nn.relu(self.first(x))) + around)


class ImageBody(eqx.Module):
    """A narrow ResNet-18: images `[B, h, w, frames * C]` in [-1, 1] to features `[B, 8 * width]`.

    Source: Alakuijala et al. 2021, section IV-B: a ResNet-18 of half the usual width, whose stem keeps 64 filters; here that is
    `width=32`. With a smaller width the stem is as narrow as the first stage.
    """

    stem: Convolution
    blocks: list[Block]

    def __init__(self, form: Form, key: jax.Array):
        keys = jax.random.split(key, 9)
        channels, width = form.frames * form.image_shape[2], form.width
        filters = 2 * width if width >= PUBLISHED_WIDTH else width
        side = 7 if min(form.crop) >= LARGE_IMAGE else 5
        self.stem = Convolution(channels, filters, side, 2, keys[0])
        self.blocks = []
        inputs = filters
        for stage in range(4):
            for number in range(2):
                outputs, stride = width * 2**stage, 2 if stage > 0 and number == 0 else 1
                self.blocks.append(Block(inputs, outputs, stride, keys[1 + 2 * stage + number]))
                inputs = outputs

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the features of a batch."""
        x = jax.nn.relu(self.stem(x))
        window = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *window)
        for block in self.blocks:
            x = block(x)
        return x.mean(axis=(1, 2))


class ClonedNetwork(eqx.Module):
    """The whole network: a body for images, hidden layers for vectors alone, and a linear head."""

    body: ImageBody | None
    hidden: list[Dense]
    head: Dense
    offsets: int = eqx.field(static=True)

    def __init__(self, form: Form, key: jax.Array):
        first, second, third = jax.random.split(key, 3)
        self.body = ImageBody(form, first) if form.image else None
        sizes: Sequence[int] = (form.vector_size,)
        if form.image:
            sizes = (form.image_size + (form.vector_size if form.proprioception else 0),)
        else:
            sizes = (form.vector_size, *form.hidden)
        keys = jax.random.split(second, max(len(sizes) - 1, 1))
        self.hidden = [Dense(*pair, key=each) for pair, each in zip(pairwise(sizes), keys, strict=False)]
        self.offsets = len(form.offsets)
        self.head = Dense(sizes[-1], self.offsets * form.outputs, third)

    def features(self, images: jax.Array | None, vectors: jax.Array) -> jax.Array:
        """Return `[B, F + P]`: the features of images, and normalized vectors."""
        return vectors if self.body is None or images is None else jnp.concatenate([self.body(images), vectors], axis=1)

    def __call__(self, images: jax.Array | None, vectors: jax.Array) -> jax.Array:
        """Return the outputs `[B, offsets, outputs]`."""
        x = self.features(images, vectors)[:, : self.head.weight.shape[0]] if self.body is not None else vectors
        for layer in self.hidden:
            x = jax.nn.relu(layer(x))
        return self.head(x).reshape(len(x), self.offsets, -1)
