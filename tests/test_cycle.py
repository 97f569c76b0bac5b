"""How much of a cycle is in memory at once."""

import pytest

from residual_rl.training.cycle import MOST_BYTES, MOST_UPDATES, updates_at_once

IMAGES = 2 * 84 * 84 * 9  # bytes of a transition between stacks of three colour images
NUMBERS = 600  # bytes of a transition of SlipperyPush, about


@pytest.mark.parametrize("row_bytes", [1, NUMBERS, 10 * NUMBERS, IMAGES, 3 * IMAGES])
@pytest.mark.parametrize("batch_size", [32, 256, 4096])
def test_the_batches_in_memory_at_once_are_bounded_in_number_and_bytes(row_bytes: int, batch_size: int) -> None:
    count = updates_at_once(row_bytes, batch_size)
    assert 1 <= count <= MOST_UPDATES
    assert count == 1 or count * row_bytes * batch_size <= MOST_BYTES
    assert count == MOST_UPDATES or (count + 1) * row_bytes * batch_size > MOST_BYTES


def test_what_is_larger_than_the_bound_is_learned_from_one_by_one() -> None:
    assert updates_at_once(MOST_BYTES, 256) == 1
