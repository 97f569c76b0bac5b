"""Trained models of other libraries as controllers: Stable-Baselines3, ONNX."""

from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from residual_rl.errors import ControllerError
from residual_rl.optional import need
from residual_rl.types import row_of

ONNX_SUFFIX = ".onnx"


def is_stable_baselines(controller: Any) -> bool:
    """Return whether it is a model of Stable-Baselines3, or has its interface."""
    return callable(getattr(controller, "predict", None)) and hasattr(controller, "policy")


class StableBaselinesModel:
    """A Stable-Baselines3 model as a controller, without its exploration.

    If its environment is a VecNormalize, observations are normalized as they were when its training ended. A loaded model has
    one only if it was passed: `PPO.load(file, env=VecNormalize.load(statistics, env))`.

    Raises:
        ControllerError: it has a recurrent policy, whose memory is not kept here.
    """

    takes_batch = True
    is_random = False
    is_stateful = False

    def __init__(self, model: Any):
        self._normalizer = _normalizer_of(model)
        self.__name__ = type(model).__name__ + _digest_of(model, self._normalizer)
        if hasattr(model.policy, "lstm_actor"):
            raise ControllerError(
                f"{self.__name__} has a recurrent policy: pass residual_rl.per_lane(make), where make() gives an object that "
                f"keeps its state"
            )
        self.model = model

    def __call__(self, observation: Any) -> np.ndarray:
        """Return actions for a batch of observations."""
        if self._normalizer is not None:
            observation = self._normalizer.normalize_obs(observation)
        return self.model.predict(observation, deterministic=True)[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> "StableBaselinesModel":
        """Return itself: it may be large, and nothing changes it here."""
        return self


def _normalizer_of(model: Any) -> Any:
    """Return a model's VecNormalize; None if it has none, or if that does not normalize observations."""
    found = getattr(model, "get_vec_normalize_env", lambda: None)()
    return found if getattr(found, "norm_obs", False) else None


def _digest_of(model: Any, normalizer: Any) -> str:
    """Return a digest of a model's weights: a residual corrects this network only."""
    weights = model.policy.state_dict() if hasattr(model.policy, "state_dict") else {}
    tensors = {name: tensor for name, tensor in weights.items() if hasattr(tensor, "detach")}
    if not tensors:  # as in SBX, which keeps them elsewhere
        return ""
    digest = sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    if normalizer is not None:
        statistics = normalizer.obs_rms if isinstance(normalizer.obs_rms, dict) else {"": normalizer.obs_rms}
        for name, one in sorted(statistics.items()):
            digest.update(name.encode() + np.asarray(one.mean).tobytes() + np.asarray(one.var).tobytes())
    return f"-{digest.hexdigest()[:12]}"


class OnnxModel:
    """A network in an ONNX file: its first output is the action; its inputs are the observation, or its entries by name."""

    takes_batch = True
    is_random = False
    is_stateful = False

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._run, inputs, self.digest = _session(self.path)
        # A residual corrects this network, and not another that is called like it.
        self.__name__ = f"{self.path.stem}-{self.digest[:12]}"
        self._inputs = {name: (shape, dtype) for name, shape, dtype in inputs}
        first = next(iter(self._inputs.values()))[0]
        self._one_at_a_time = bool(first) and first[0] == 1

    def __call__(self, observation: Any) -> np.ndarray:
        """Return actions for a batch of observations."""
        feeds = self._feeds(observation)
        if not self._one_at_a_time:
            return np.asarray(self._run(feeds))
        size = len(next(iter(feeds.values())))
        return np.concatenate([np.asarray(self._run(row_of(feeds, slice(row, row + 1)))) for row in range(size)])

    def contents(self) -> bytes:
        """Return the network as one file, the weights that lie beside it included."""
        onnx = need("onnx", "onnx", "networks in ONNX files")
        alone, whole = (onnx.load(str(self.path), load_external_data=external) for external in (False, True))
        return self.path.read_bytes() if alone == whole else whole.SerializeToString(deterministic=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxModel":
        """Return itself: nothing changes it."""
        return self

    def _feeds(self, observation: Any) -> dict[str, np.ndarray]:
        if not isinstance(observation, dict):
            observation = dict.fromkeys(self._inputs, observation) if len(self._inputs) == 1 else {}
        missing = self._inputs.keys() - observation.keys()
        if missing:
            raise ControllerError(
                f"{self.path} has inputs {', '.join(sorted(self._inputs))}; the observation has no {', '.join(sorted(missing))}"
            )
        return {name: np.asarray(observation[name]).astype(dtype) for name, (_, dtype) in self._inputs.items()}


Session = tuple[Callable[[dict[str, np.ndarray]], Any], list[tuple[str, list[Any], Any]], str]


def _session(path: Path) -> Session:
    """Return a function that runs the file; its inputs' names, shapes and types; and the SHA-256 of file and weights.

    ONNX Runtime runs it if it is installed, else ONNX's reference implementation.

    Raises:
        ControllerError: the file cannot be read.
        ResidualRLError: onnx is not installed.
    """
    if not path.is_file():
        raise ControllerError(f"there is no file {path}")
    onnx = need("onnx", "onnx", "controllers in ONNX files")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:
        raise ControllerError(f"{path} is no ONNX model that could be used: {error}") from error
    constants = {initializer.name for initializer in model.graph.initializer}
    inputs = [
        (
            one.name,
            [length.dim_value or None for length in one.type.tensor_type.shape.dim],
            onnx.helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type),
        )
        for one in model.graph.input
        if one.name not in constants
    ]
    if find_spec("onnxruntime"):
        session = import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    else:
        session = import_module("onnx.reference").ReferenceEvaluator(model)
    hasher = sha256(path.read_bytes())
    if model != onnx.load(str(path), load_external_data=False):  # some of its weights lie in files of their own
        hasher.update(model.SerializeToString(deterministic=True))
    return lambda feeds: session.run(None, feeds)[0], inputs, hasher.hexdigest()
