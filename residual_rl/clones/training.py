"""Train a network on demonstrations, epoch by epoch; a training that was stopped or killed resumes with the same numbers."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from residual_rl.clones.augmentation import augmented, central
from residual_rl.clones.networks import ClonedNetwork
from residual_rl.clones.samples import Samples
from residual_rl.clones.settings import Cloning, Form
from residual_rl.errors import DemonstrationError, Interrupted
from residual_rl.learning.serialization import from_arrays, to_arrays
from residual_rl.processes import stop_requested
from residual_rl.storage import read_arrays, to_json, write_arrays

CHECKPOINT = "checkpoint.safetensors"
SECONDS = 10.0
"""Between checkpoints, which are written at the end of an epoch."""


class Batch(NamedTuple):
    """Samples as the network and the loss take them."""

    images: Any
    """`[B, F, H, W, C]` uint8, or None."""
    vectors: Any
    """`[B, P]`, normalized."""
    targets: Any
    """`[B, K, A]`, normalized continuous components at each offset."""
    closed: Any
    """`[B, K]` classes of the gripper."""
    weight: Any
    """`[B]`, 0 for a row that only fills the batch."""


class Epoch(NamedTuple):
    """One row of the table of a training."""

    epoch: int
    loss: float
    held_out_loss: float
    seconds: float


@dataclass(frozen=True)
class Objective:
    """What of the settings is compiled into a step."""

    crop: Any
    rate: float
    gripper_weight: float | None


def _objective(form: Form, settings: Cloning) -> Objective:
    return Objective(form.crop, settings.rate, None if settings.gripper is None else settings.gripper_weight)


class Trained(NamedTuple):
    """The result of a training."""

    network: ClonedNetwork
    """Of the epoch with the lowest held-out loss."""
    epochs: tuple[Epoch, ...]

    @property
    def chosen(self) -> Epoch:
        """The epoch whose network it is."""
        return min(self.epochs, key=lambda row: row.held_out_loss)


def train_network(
    samples: Samples, form: Form, settings: Cloning, directory: Path, after_epoch: Callable[[Epoch], None]
) -> Trained:
    """Train a network.

    Args:
        samples: the steps of the demonstrations.
        form: what the network takes and gives.
        settings: how it is trained.
        directory: holds the checkpoint.
        after_epoch: called with each row of the table, those before a resume included.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written.
        DemonstrationError: the checkpoint is of other demonstrations or settings, or training diverged.
    """
    key = jax.random.key(settings.seed)
    network = ClonedNetwork(form, jax.random.fold_in(key, 0))
    optimizer, objective = optax.adam(settings.rate), _objective(form, settings)
    state = network, optimizer.init(eqx.filter(network, eqx.is_array)), network
    identity = {"data": samples.digest, "settings": to_json(settings), "form": to_json(form)}
    rows: list[Epoch] = []
    file = directory / CHECKPOINT
    if file.exists():
        arrays, metadata = read_arrays(file)
        if json.loads(metadata["identity"]) != json.loads(json.dumps(identity)):
            raise DemonstrationError(f"{directory} holds a training on other demonstrations or with other settings")
        rows = [Epoch(*row) for row in json.loads(metadata["epochs"])]
        state = from_arrays(state, arrays, "state", str(file))
    for row in rows:
        after_epoch(row)
    saved = time.monotonic()
    with stop_requested() as stopped:
        for epoch in range(len(rows), settings.epochs):
            started = time.monotonic()
            network, optimizer_state, best = state
            loss = 0.0
            order = np.random.default_rng([settings.seed, epoch]).permutation(samples.training)
            batches = _parts(order, settings.batch_size)
            for number, rows_of_batch in enumerate(batches):
                drawn = np.random.default_rng([settings.seed, epoch, number])
                batch = batch_of(samples, form, rows_of_batch, settings.batch_size, drawn)
                each = jax.random.fold_in(jax.random.fold_in(key, epoch + 1), number)
                network, optimizer_state, value = _step(network, optimizer_state, batch, each, objective)
                loss += value * len(rows_of_batch)
                if stopped() and number < len(batches) - 1:
                    break
            if stopped():  # this epoch is not complete, and begins again
                _save(file, state, rows, identity)
                raise Interrupted(f"cloning was stopped after {len(rows)} epochs; the same call resumes it")
            held_out = held_out_loss(network, samples, form, settings)
            if not np.isfinite(held_out):
                raise DemonstrationError(f"training diverged in epoch {epoch}: try a lower rate than {settings.rate:g}")
            better = all(held_out < row.held_out_loss for row in rows)
            state = network, optimizer_state, network if better else best
            rows.append(Epoch(epoch, float(loss) / len(order), held_out, time.monotonic() - started))
            after_epoch(rows[-1])
            if time.monotonic() - saved > SECONDS or len(rows) == settings.epochs:
                _save(file, state, rows, identity)
                saved = time.monotonic()
    return Trained(state[2], tuple(rows))


def _save(file: Path, state: Any, rows: list[Epoch], identity: dict[str, Any]) -> None:
    write_arrays(file, to_arrays(state, "state"), {"epochs": json.dumps(rows), "identity": json.dumps(identity)})


def _parts(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def batch_of(samples: Samples, form: Form, steps: np.ndarray, size: int, rng: np.random.Generator | None = None) -> Batch:
    """Return the samples of so many steps, filled up to `size` rows. Without a generator images are of the first viewpoint."""
    weight = (np.arange(size) < len(steps)).astype(np.float32)
    steps = np.resize(steps, size)
    scales = samples.scales
    ahead = np.minimum(steps[:, None] + np.array(form.offsets), samples.last[steps][:, None])
    targets = (samples.actions[ahead][..., form.continuous] - scales.action_mean) / scales.action_scale
    images = None
    if samples.images is not None:
        back = np.arange(form.frames - 1, -1, -1)
        seen = np.maximum(steps[:, None] - back, samples.first[steps][:, None])
        views = samples.images.shape[1]
        view = np.zeros(size, int) if rng is None else rng.integers(views, size=size)
        images = samples.images[seen, view[:, None]]
    vectors = (samples.vectors[steps] - scales.vector_mean) / scales.vector_scale
    return Batch(images, vectors, targets, samples.closed[ahead], weight)


def _loss(network: ClonedNetwork, images: Any, batch: Batch, objective: Objective) -> jax.Array:
    """Return the mean loss of a batch: Alakuijala et al. 2021, equation 2, with the mean over components as in its code."""
    outputs = network(images, batch.vectors)
    numbers = batch.targets.shape[-1]
    share = batch.weight / batch.weight.sum()
    squares = jnp.square(outputs[..., :numbers] - batch.targets).mean(axis=-1) if numbers else jnp.zeros(outputs.shape[:2])
    each = squares
    if objective.gripper_weight is not None:
        crosses = optax.softmax_cross_entropy_with_integer_labels(outputs[..., numbers:], batch.closed)
        each = (1.0 - objective.gripper_weight) * squares + objective.gripper_weight * crosses
    return (share[:, None] * each).sum()


@eqx.filter_jit
def _step(network: Any, state: Any, batch: Batch, key: jax.Array, objective: Objective) -> Any:
    images = None if batch.images is None else augmented(batch.images, objective.crop, key)
    loss, gradient = eqx.filter_value_and_grad(_loss)(network, images, batch, objective)
    updates, state = optax.adam(objective.rate).update(gradient, state)
    return eqx.apply_updates(network, updates), state, loss


@eqx.filter_jit
def _held_out_step(network: Any, batch: Batch, objective: Objective) -> jax.Array:
    images = None if batch.images is None else central(batch.images, objective.crop)
    return _loss(network, images, batch, objective)


def held_out_loss(network: ClonedNetwork, samples: Samples, form: Form, settings: Cloning) -> float:
    """Return the mean loss on the held-out episodes, without augmentation."""
    total, objective = 0.0, _objective(form, settings)
    for steps in _parts(samples.held_out, settings.batch_size):
        batch = batch_of(samples, form, steps, settings.batch_size)
        total += float(_held_out_step(network, batch, objective)) * len(steps)
    return total / len(samples.held_out)
