"""Pytrees as named arrays and back."""

import equinox as eqx
import jax
import numpy as np
import pytest
from probes import LINE, SMALL, used_learner

from residual_rl.errors import RunError
from residual_rl.learning.serialization import from_arrays, to_arrays


def leaves(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_array))


@pytest.fixture(scope="module", params=SMALL)
def learner(request):
    return used_learner(SMALL[request.param], LINE)


@pytest.fixture
def arrays(learner):
    return {name: array.copy() for name, array in to_arrays(learner, "learner").items()}


def as_shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if eqx.is_array(leaf) else leaf, tree)


@pytest.mark.parametrize("form", [lambda tree: tree, as_shapes], ids=["of arrays", "of mere shapes"])
def test_a_learner_survives_being_written(learner, arrays, form):
    restored = from_arrays(form(learner), arrays, "learner", "file")
    assert jax.tree.structure(restored) == jax.tree.structure(learner)
    for one, other in zip(leaves(restored), leaves(learner), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_every_array_has_a_name_of_its_own(learner, arrays):
    assert len(arrays) == len(leaves(learner))
    assert all(name.startswith("learner.") for name in arrays)
    assert "learner.actor.layers[0].weight" in arrays


def test_the_values_come_from_the_arrays_and_not_from_the_form(learner, arrays):
    name = "learner.actor.layers[0].weight"
    arrays[name] = arrays[name] + 1
    restored = from_arrays(learner, arrays, "learner", "file")
    np.testing.assert_array_equal(restored.actor.layers[0].weight, arrays[name])


def test_other_arrays_may_lie_beside_them(learner, arrays):
    arrays["replay/.reward"] = np.zeros(3)
    restored = to_arrays(from_arrays(learner, arrays, "learner", "file"), "learner")
    assert restored.keys() == arrays.keys() - {"replay/.reward"}
    assert all(np.array_equal(restored[name], arrays[name]) for name in restored)


def refusal(learner, arrays):
    with pytest.raises(RunError) as error:
        from_arrays(learner, arrays, "learner", "some/file")
    assert str(error.value).startswith("some/file: ")
    return str(error.value)


def test_any_missing_array_is_named(learner, arrays):
    for name in list(arrays):
        without = {other: array for other, array in arrays.items() if other != name}
        assert repr(name) in refusal(learner, without)


@pytest.mark.parametrize("name", ["learner.critics.layers[1].weight", "learner.updates", "learner.normalizer.mean"])
def test_a_wrong_shape_is_named_with_both_shapes(learner, arrays, name):
    shape = arrays[name].shape
    arrays[name] = np.zeros((*shape, 2), arrays[name].dtype)
    message = refusal(learner, arrays)
    for part in (repr(name), str([*shape, 2]), str(list(shape))):
        assert part in message


def test_a_transposed_array_is_refused(learner, arrays):
    name = "learner.actor.layers[2].weight"
    arrays[name] = arrays[name].T
    assert repr(name) in refusal(learner, arrays)


@pytest.mark.parametrize(("name", "dtype"), [("learner.actor.layers[0].bias", "float64"), ("learner.updates", "float32")])
def test_a_wrong_dtype_is_named_with_both(learner, arrays, name, dtype):
    expected = arrays[name].dtype
    arrays[name] = arrays[name].astype(dtype)
    message = refusal(learner, arrays)
    for part in (repr(name), dtype, str(expected)):
        assert part in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_array_that_is_not_finite_is_named(learner, arrays, value):
    name = "learner.target_critics.layers[0].weight"
    arrays[name].flat[-1] = value
    assert repr(name) in refusal(learner, arrays)


@pytest.mark.parametrize("form", [lambda tree: tree, as_shapes], ids=["of arrays", "of mere shapes"])
@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_random_keys_are_kept(form, kind):
    tree = {"key": jax.random.key(3, impl=kind), "many": jax.random.split(jax.random.key(4, impl=kind), 3)}
    arrays = to_arrays(tree, "learner")
    assert arrays["learner['key']"].dtype == np.uint32
    restored = from_arrays(form(tree), arrays, "learner", "file")
    for name, key in tree.items():
        assert restored[name].dtype == key.dtype
        np.testing.assert_array_equal(jax.random.key_data(restored[name]), jax.random.key_data(key))
    with pytest.raises(RunError, match="learner"):
        from_arrays(form(tree), arrays | {"learner['key']": np.zeros(3, np.uint32)}, "learner", "file")
