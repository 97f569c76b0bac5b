"""Pytrees as named arrays and back, checked entry by entry: what a safetensors file can hold."""

from collections.abc import Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np

from residual_rl.errors import RunError

Tree = TypeVar("Tree")


def to_arrays(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """Return every array of a pytree under `prefix` and its path in the tree. Of a random key it is the key's data."""
    arrays = eqx.filter(tree, eqx.is_array)
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    return {prefix + jax.tree_util.keystr(path): np.asarray(_plain(leaf)) for path, leaf in leaves}


def from_arrays(like: Tree, arrays: Mapping[str, np.ndarray], prefix: str, source: str) -> Tree:
    """Return a pytree with the structure of `like` (whose leaves may be mere shapes) and the arrays that `to_arrays` named.

    Raises:
        RunError: an array is missing, has another shape or dtype, or is not finite; names `source` and the array.
    """

    def restored(path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct | jax.Array):
            return leaf
        name = prefix + jax.tree_util.keystr(path)
        expected = jax.eval_shape(_plain, leaf)
        array = found(arrays, name, expected.shape, expected.dtype, source)
        if not np.isfinite(array).all():
            raise RunError(f"{source}: array {name!r} holds values that are not finite")
        array = jax.numpy.asarray(array)
        return jax.random.wrap_key_data(array, impl=_kind_of_key(leaf)) if _is_key(leaf) else array

    return jax.tree_util.tree_map_with_path(restored, like)


def found(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: Any, source: str) -> np.ndarray:
    """Return the array of this name.

    Raises:
        RunError: it is missing, or has another shape or dtype; names `source` and the array.
    """
    if name not in arrays:
        raise RunError(f"{source}: array {name!r} is missing")
    array = arrays[name]
    if array.shape != tuple(shape) or array.dtype != dtype:
        raise RunError(f"{source}: array {name!r} is {array.dtype}{list(array.shape)}, expected {dtype}{list(shape)}")
    return array


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    """Return the array itself; of a random key the numbers that it consists of."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _kind_of_key(leaf: Any) -> Any:
    """Return the generator of a random key, or of its mere shape."""
    return jax.random.key_impl(jax.numpy.empty((0,), leaf.dtype))
