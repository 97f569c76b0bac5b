"""Clones as controllers and encoders: saved as safetensors, kept by runs, and one computation if both are used."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import numpy as np

from residual_rl import storage
from residual_rl.clones.augmentation import central
from residual_rl.clones.networks import ClonedNetwork
from residual_rl.clones.samples import Scales
from residual_rl.clones.settings import Form
from residual_rl.controllers.artefacts import CLONE
from residual_rl.demonstrations.checking import flat
from residual_rl.errors import ControllerError, RunError
from residual_rl.learning.serialization import found, from_arrays, to_arrays
from residual_rl.storage import read_arrays, record_of, to_json, write_arrays


class _Saved:
    """Weights, scales and form, which lie in one file."""

    kind: ClassVar[str]
    takes_batch = True
    is_random = False
    is_stateful = False

    def __init__(self, network: ClonedNetwork, scales: Scales, form: Form):
        self.network, self.scales, self.form = network, scales, form

    @property
    def __name__(self) -> str:
        """It is known by what it holds, wherever its file lies."""
        return f"{self.kind}-{self.digest[:12]}"

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return to_arrays(self.network, "network") | {f"scales.{name}": array for name, array in vars(self.scales).items()}

    @property
    def digest(self) -> str:
        """Return the SHA-256 of weights, scales and form."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return storage.digest(self._arrays, {"kind": self.kind, "form": to_json(self.form)})

    def save(self, path: Path, /) -> None:
        """Write it into a directory that exists."""
        write_arrays(path / CLONE, self._arrays, {"form": json.dumps(to_json(self.form))})

    @classmethod
    def load(cls, path: Path, /) -> Self:
        """Return what `save` wrote. Nothing in the file is executed.

        Raises:
            ControllerError: there is none, or it is damaged.
        """
        file = path / CLONE
        try:
            arrays, metadata = read_arrays(file)
            form = record_of(Form, _json(metadata.get("form", "null"), file), file)
            like = eqx.filter_eval_shape(lambda key: ClonedNetwork(form, key), jax.random.key(0))
            network = from_arrays(like, arrays, "network", str(file))
            sizes = {"vector": form.vector_size, "action": len(form.continuous)}
            shapes = {f"{part}_{name}": (size,) for part, size in sizes.items() for name in ("mean", "scale")}
            shapes["gripper"] = (2,)
            kept = {name: found(arrays, f"scales.{name}", shape, np.float32, str(file)) for name, shape in shapes.items()}
        except RunError as error:
            raise ControllerError(f"the clone cannot be used: {error}") from None
        return cls(network, Scales(**kept), form)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return itself: nothing changes it."""
        return self

    def _vectors(self, shown: Any) -> np.ndarray:
        """Return the vectors of a batch, normalized: `[B, P]`."""
        arrays = flat(shown)
        if missing := [key for key, _ in self.form.vectors if key not in arrays]:
            raise ControllerError(f"{self.__name__} was cloned from observations with entries that are missing here: {missing}")
        parts = []
        for key, size in self.form.vectors:
            array = np.asarray(arrays[key], np.float32)
            rows = array.reshape(len(array), -1)
            if rows.shape[1] != size:
                raise ControllerError(
                    f"{self.__name__} was cloned from demonstrations whose {key!r} has {size} numbers, not {rows.shape[1]}"
                )
            parts.append(rows)
        if not parts:
            return np.zeros((len(next(iter(arrays.values()))), 0), np.float32)
        return (np.concatenate(parts, axis=1) - self.scales.vector_mean) / self.scales.vector_scale

    def _decoded(self, outputs: np.ndarray) -> np.ndarray:
        """Return the actions `[B, *A]` of the first offset, from the head's outputs `[B, offsets * outputs]`."""
        form = self.form
        now = outputs.reshape(len(outputs), len(form.offsets), -1)[:, 0]
        actions = np.empty((len(now), form.action_size), np.float32)
        numbers = len(form.continuous)
        actions[:, form.continuous] = now[:, :numbers] * self.scales.action_scale + self.scales.action_mean
        if form.gripper is not None:
            is_open = now[:, numbers] > now[:, numbers + 1]
            actions[:, form.gripper] = np.where(is_open, *self.scales.gripper)
        return actions.reshape(len(now), *form.action_shape)


class VectorClone(_Saved):
    """A clone of vectors; NumPy alone computes it."""

    kind = "clone"

    def __call__(self, observation: Any) -> np.ndarray:
        """Return actions in the environment's units for a batch of what the environment shows."""
        x = self._vectors(observation)
        layers = [*self.network.hidden, self.network.head]
        for layer in layers:
            x = x @ np.asarray(layer.weight) + np.asarray(layer.bias)
            x = x if layer is layers[-1] else np.maximum(x, 0.0)
        return self._decoded(x)


class ImageEncoder(_Saved):
    """The features of an image clone: those of the image `[B, 8 * width]`, and the other entries, normalized."""

    kind = "clone-encoder"

    def __call__(self, observation: Any) -> np.ndarray:
        """Return features `[B, F]` float32."""
        arrays = flat(observation)
        if self.form.image not in arrays:
            raise ControllerError(f"{self.__name__} needs the image {self.form.image!r}; the observation has {sorted(arrays)}")
        images, rows = self._frames(np.asarray(arrays[self.form.image])), len(arrays[self.form.image])
        size = 1 << max(rows - 1, 0).bit_length()  # few sizes, so that little is compiled
        padded = np.zeros((size, *images.shape[1:]), np.uint8)
        padded[:rows] = images
        features = np.asarray(_features(self.network.body, padded, self.form.crop))[:rows]
        return np.concatenate([features, self._vectors(observation)], axis=1)

    def _frames(self, images: np.ndarray) -> np.ndarray:
        """Return stacks of frames `[B, F, H, W, C]`."""
        frames, (height, width, channels) = self.form.frames, self.form.image_shape
        if images.dtype != np.uint8 or images.size != len(images) * frames * height * width * channels:
            raise ControllerError(
                f"{self.__name__} needs images of {frames} frames of {self.form.image_shape} uint8, not {images.shape[1:]} "
                f"{images.dtype}"
            )
        if images.ndim > 3 and images.shape[1] == frames and images.shape[2:4] == (height, width):
            return images.reshape(len(images), frames, height, width, channels)
        return np.moveaxis(images.reshape(len(images), height, width, frames, channels), 3, 1)


class ImageClone(_Saved):
    """A clone of a camera image and perhaps other entries. If its encoder is that of a run, it runs once for both."""

    kind = "image-clone"

    @cached_property
    def encoder(self) -> ImageEncoder:
        """Its features, for the learner."""
        return ImageEncoder(self.network, self.scales, self.form)

    def __call__(self, observation: Any) -> np.ndarray:
        """Return actions in the environment's units for a batch of what the environment shows."""
        return self.act_on_features(self.encoder(observation))

    def act_on_features(self, features: np.ndarray) -> np.ndarray:
        """Return actions in the environment's units from the features of its encoder `[B, F]`."""
        head = self.network.head
        weight = np.asarray(head.weight)
        return self._decoded(np.asarray(features, np.float32)[:, : len(weight)] @ weight + np.asarray(head.bias))


@eqx.filter_jit
def _features(body: Any, images: Any, crop: Any) -> jax.Array:
    return body(central(images, crop))


def clone_of(network: ClonedNetwork, scales: Scales, form: Form) -> VectorClone | ImageClone:
    """Return a trained network as a controller."""
    return (ImageClone if form.image else VectorClone)(network, scales, form)


def _json(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise RunError(f"{file} is damaged: {error}") from error
