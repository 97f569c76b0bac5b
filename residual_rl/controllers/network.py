"""A controller that is a small network in a file of plain arrays."""

import hashlib
import re
from collections.abc import Callable, Mapping
from copy import copy
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Self
from zipfile import ZipFile

import numpy as np
from safetensors.numpy import load as load_safetensors

from residual_rl.errors import ControllerError
from residual_rl.types import Observation, Spec

FILE = "network.npz"
SUFFIXES = (".npz", ".safetensors")
MAX_BYTES = 1 << 28
"""Of a file, and of its arrays."""
SMALLEST_SCALE = 1e-8
"""Is added to `in_scale`, so that an input that never varied divides by no zero."""
LAYER = re.compile(r"(kernel|bias)_(\d+)")
SCALES = ("in_shift", "in_scale", "out_shift", "out_scale")


class NetworkController:
    """A perceptron with tanh between its layers, as plain arrays, its actions multiplied by a gain.

        x = (observation - in_shift) / (in_scale + 1e-8)
        x = tanh(x @ kernel_0 + bias_0), and so on; the last layer has no tanh
        action = gain * (x * out_scale + out_shift)

    With a gain below 1 a good controller becomes one with room for improvement.

    Args:
        arrays: `kernel_0` `[O, H]`, `bias_0` `[H]`, `kernel_1`, ... up to `[H, A]`; perhaps `in_shift` and `in_scale` `[O]`,
            `out_shift` and `out_scale` `[A]`, and `gain` `[]`.
        gain: multiplies the actions, besides the `gain` among the arrays.

    Raises:
        ControllerError: they do not make a network; names the array.
    """

    reads_goal = False
    kind: str = "network"

    def __init__(self, arrays: Mapping[str, np.ndarray], gain: float = 1.0):
        self.arrays = {name: _numbers(name, array) for name, array in arrays.items()}
        self.arrays["gain"] = self.arrays.get("gain", np.array(1.0)) * gain
        if self.arrays["gain"].shape != () or not np.isfinite(self.arrays["gain"]):
            raise ControllerError(f"a gain is one finite number, not {self.arrays['gain']}")
        self._layers = _layers(self.arrays)
        self._check_sizes()
        self._to_unit: Callable[[np.ndarray], np.ndarray] = lambda action: action
        self._raw: Callable[[Observation], Observation] = lambda observation: observation

    @property
    def sizes(self) -> tuple[int, int]:
        """Entries of an observation and of an action."""
        return self._layers[0][0].shape[0], self._layers[-1][0].shape[1]

    @property
    def __name__(self) -> str:
        """A name that depends on the contents, not on the file's place."""
        return f"network-{self.digest[:12]}"

    @property
    def digest(self) -> str:
        """Return the SHA-256 of names, shapes and numbers."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        hasher = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            hasher.update(f"{name}{array.shape}".encode() + array.tobytes())
        return hasher.hexdigest()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return itself: nothing changes it."""
        return self

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, A]`."""
        return self._to_unit(self.act(self._raw(observation)["observation"]))

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return actions `[B, A]` for observations `[B, O]`, in the units in which the network was trained."""
        x = np.asarray(observation, np.float64)
        if "in_shift" in self.arrays:
            x = x - self.arrays["in_shift"]
        if "in_scale" in self.arrays:
            x = x / (self.arrays["in_scale"] + SMALLEST_SCALE)
        for kernel, bias in self._layers[:-1]:
            x = np.tanh(x @ kernel + bias)
        kernel, bias = self._layers[-1]
        action = (x @ kernel + bias) * self.arrays.get("out_scale", 1.0) + self.arrays.get("out_shift", 0.0)
        return self.arrays["gain"] * action

    def in_units(
        self, to_unit: Callable[[np.ndarray], np.ndarray], raw: Callable[[Observation], Observation] = lambda shown: shown
    ) -> Self:
        """Return the same network in an environment's units; the arguments are those of `TableController.in_units`."""
        network = copy(self)
        network._to_unit, network._raw = to_unit, raw
        return network

    def save(self, path: str | Path) -> None:
        """Write the arrays as a NumPy archive: `path`, or `network.npz` in it if it is a directory."""
        with (Path(path) / FILE if Path(path).is_dir() else Path(path)).open("wb") as file:
            np.savez_compressed(file, **self.arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path, spec: Spec | None = None, gain: float = 1.0) -> "NetworkController":
        """Return the network in a NumPy archive or a safetensors file. Nothing in the file is executed.

        Args:
            path: the file, or a directory with a `network.npz`.
            spec: of the task that it is for, to be checked.
            gain: see the class.

        Raises:
            ControllerError: there is no such file, it is damaged, it holds no network, or one for another task.
        """
        path = Path(path) / FILE if Path(path).is_dir() else Path(path)
        try:
            network = cls(_read(path), gain)
        except ControllerError as error:
            raise ControllerError(f"{path}: {error}") from None
        if spec is not None and network.sizes != (spec.observation_size, spec.action_size):
            raise ControllerError(
                f"{path} is for another task: it takes {network.sizes[0]} numbers and returns {network.sizes[1]}, but "
                f"{spec.observation_size} and {spec.action_size} are needed"
            )
        return network

    def _check_sizes(self) -> None:
        observation, action = self.sizes
        for name, width in zip(SCALES, (observation, observation, action, action), strict=True):
            if name in self.arrays and self.arrays[name].shape != (width,):
                raise ControllerError(f"{name} must have shape ({width},), not {self.arrays[name].shape}")


def is_network(path: str | Path) -> bool:
    """Return whether a file is a network rather than a table, by its suffix or, in an archive, by the names of its arrays."""
    if Path(path).suffix == ".safetensors":
        return True
    try:
        with ZipFile(path) as files:
            return "kernel_0.npy" in files.namelist()
    except Exception:  # the reader says what is wrong with it
        return False


def split_gain(name: str) -> tuple[str, float]:
    """Return file and gain of `PATH@GAIN`, such as `door.npz@0.72`; without a gain it is 1."""
    path, _, gain = name.rpartition("@")
    if path.endswith(SUFFIXES):
        try:
            return path, float(gain)
        except ValueError:
            raise ControllerError(f"{name!r} must end in a number after the @, the factor of the actions") from None
    return name, 1.0


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ControllerError("there is no such file")
    content = path.read_bytes()
    try:
        if path.suffix == ".safetensors":
            arrays = load_safetensors(content)
        else:
            with ZipFile(BytesIO(content)) as files:
                if sum(entry.file_size for entry in files.infolist()) > MAX_BYTES:
                    raise ControllerError(f"a network may have {MAX_BYTES} bytes")
            with np.load(BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
    except ControllerError:
        raise
    except Exception as error:  # each library has its own
        raise ControllerError(f"it is damaged, or holds something else than plain numbers: {error}") from error
    return arrays


def _layers(arrays: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    unknown = [name for name in arrays if not LAYER.fullmatch(name) and name not in (*SCALES, "gain")]
    if unknown:
        raise ControllerError(f"{unknown[0]!r} is no array of a network: kernel_N, bias_N, {', '.join(SCALES)}, gain")
    count = sum(name.startswith("kernel_") for name in arrays)
    if not count:
        raise ControllerError("it holds no network: there is no array 'kernel_0'")
    layers = []
    for number in range(count):
        names = f"kernel_{number}", f"bias_{number}"
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ControllerError(f"the network lacks {missing[0]!r}")
        kernel, bias = (arrays[name] for name in names)
        width = layers[-1][0].shape[1] if layers else None
        if kernel.ndim != 2 or not kernel.size or width not in (None, kernel.shape[0]):
            raise ControllerError(f"{names[0]} must have shape ({width or 'inputs'}, outputs), not {kernel.shape}")
        if bias.shape != kernel.shape[1:]:
            raise ControllerError(f"{names[1]} must have shape {kernel.shape[1:]}, not {bias.shape}")
        layers.append((kernel, bias))
    return layers


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ControllerError(f"{name} must be finite numbers")
    return np.array(array, np.float64)
