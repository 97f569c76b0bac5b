"""Pytrees as named arrays and back, checked entry by entry: what a safetensors file can hold."""

from collections.abc import Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np

from residual_rl.errors import RunError

Tree = TypeVar("Tree")


def to_arrays(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """Every array of a pytree under `prefix` and its path in the tree."""
    arrays = eqx.filter(tree, eqx.is_array)
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    return {prefix + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def from_arrays(like: Tree, arrays: Mapping[str, np.ndarray], prefix: str, source: str) -> Tree:
    """A pytree of the form of `like` (whose leaves may be mere shapes) with the arrays that `to_arrays` named.

    Raises:
        RunError: an array is missing, has another shape or dtype, or is not finite; names `source` and the array.
    """

    def restored(path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct | jax.Array):
            return leaf
        name = prefix + jax.tree_util.keystr(path)
        if name not in arrays:
            raise RunError(f"{source}: array {name!r} is missing")
        array = arrays[name]
        if array.shape != leaf.shape or array.dtype != leaf.dtype:
            raise RunError(
                f"{source}: array {name!r} is {array.dtype}{list(array.shape)}, expected {leaf.dtype}{list(leaf.shape)}"
            )
        if not np.isfinite(array).all():
            raise RunError(f"{source}: array {name!r} holds values that are not finite")
        return jax.numpy.asarray(array)

    return jax.tree_util.tree_map_with_path(restored, like)
