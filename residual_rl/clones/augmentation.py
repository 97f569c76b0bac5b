"""Images as the network sees them: rotated, shifted and cropped at random in training; the middle otherwise.

Source: Alakuijala et al. 2021 and its code: rotation up to 5 degrees, shift up to 4 % of the side in whole pixels, uncovered
pixels white, then a crop at random. Pixels are taken from the nearest place, so that depths are not mixed at edges.
"""

import jax
import jax.numpy as jnp

ROTATION = 5.0 / 180.0 * jnp.pi
SHIFT = 0.04
UNCOVERED = 255


def augmented(images: jax.Array, crop: tuple[int, int], key: jax.Array) -> jax.Array:
    """Return `[B, h, w, F * C]` in [-1, 1] from `[B, F, H, W, C]` uint8: one draw for all frames of a sample."""
    return jax.vmap(lambda frames, each: _augment(frames, crop, each))(images, jax.random.split(key, len(images)))


def _augment(frames: jax.Array, crop: tuple[int, int], key: jax.Array) -> jax.Array:
    _, height, width, _ = frames.shape
    turn, shift, place = jax.random.split(key, 3)
    angle = jax.random.uniform(turn, (), minval=-ROTATION, maxval=ROTATION)
    sides = jnp.array([height, width], jnp.float32)
    moved = jnp.round(jax.random.uniform(shift, (2,), minval=-SHIFT, maxval=SHIFT) * sides)
    room = jnp.array([height - crop[0], width - crop[1]])
    corner = jax.random.randint(place, (2,), 0, jnp.maximum(room, 1))
    middle = (sides - 1.0) / 2.0
    rows, columns = jnp.meshgrid(jnp.arange(crop[0]), jnp.arange(crop[1]), indexing="ij")
    y, x = rows + corner[0] - moved[0] - middle[0], columns + corner[1] - moved[1] - middle[1]
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    row = jnp.round(cosine * y - sine * x + middle[0]).astype(jnp.int32)
    column = jnp.round(sine * y + cosine * x + middle[1]).astype(jnp.int32)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    taken = frames[:, row.clip(0, height - 1), column.clip(0, width - 1)]
    return scaled(jnp.where(inside[None, :, :, None], taken, UNCOVERED))


def central(images: jax.Array, crop: tuple[int, int]) -> jax.Array:
    """Return the middle of images: `[B, F, H, W, C]` uint8 to `[B, h, w, F * C]` in [-1, 1]."""
    top, left = ((images.shape[2 + axis] - crop[axis]) // 2 for axis in (0, 1))
    return jax.vmap(scaled)(images[:, :, top : top + crop[0], left : left + crop[1]])


def scaled(frames: jax.Array) -> jax.Array:
    """Return frames `[F, h, w, C]` of bytes as channels in [-1, 1], the oldest first: `[h, w, F * C]`."""
    joined = jnp.moveaxis(frames, 0, 2).reshape(*frames.shape[1:3], -1)
    return (joined.astype(jnp.float32) - 127.5) / 127.5
