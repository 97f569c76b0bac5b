"""What an encoder is, and how features are asked of it.

An encoder sees what one step of the environment shows. If the learner needs several steps, it joins their features, see
`learning.history`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as record

from residual_rl.controllers.answers import as_array
from residual_rl.controllers.artefacts import Artefact, Deferred
from residual_rl.controllers.controller import name_of
from residual_rl.encoders.network import OnnxEncoder
from residual_rl.errors import EncoderError, ResidualRLError
from residual_rl.storage import read_json, record_of
from residual_rl.types import size_of

ENCODERS: dict[str, Any] = {
    OnnxEncoder.kind: OnnxEncoder,
    "clone-encoder": Deferred("residual_rl.clones.artefact", "ImageEncoder"),
}
"""Classes of saved networks by their kind, see `controllers.artefacts.Artefact`: `save`, `load`, `digest`, and a call that
returns features."""
ARTEFACT = "artefact.json"
"""Says, in a folder, which kind of encoder lies there."""


@dataclass(frozen=True)
class Encoder:
    """A batched function of what an environment shows to features: checked at each call."""

    call: Callable[[Any], Any]
    name: str
    artefact: Any = None
    """What of it a run keeps; None for a Python callable."""

    def __call__(self, shown: Any, rows: int, width: int | None = None) -> np.ndarray:
        """Return features `[B, F]` of floating-point numbers.

        Args:
            shown: what the environment shows, with a leading axis `[B]`; of a goal environment its `observation`.
            rows: B.
            width: F, if it is known.

        Raises:
            EncoderError: the encoder raised, or returned something else; names it.
        """
        try:
            features = as_array(self.call(shown))
        except ResidualRLError:
            raise
        except Exception as error:
            raise EncoderError(f"encoder {self.name!r} raised {type(error).__name__}: {error}") from error
        if features.dtype.kind == "V" and features.dtype.names is None:  # bfloat16 and its kind
            features = features.astype(np.float32)
        if features.dtype.kind != "f":
            raise EncoderError(f"encoder {self.name!r} returned {features.dtype}: features must be floating-point numbers")
        if features.ndim != 2 or len(features) != rows or features.shape[1] == 0 or width not in (None, features.shape[1]):
            wanted = f"({rows}, {'F' if width is None else width})"
            raise EncoderError(f"encoder {self.name!r} returned features of shape {features.shape}, {wanted} is needed")
        return features


@record(frozen=True, config=ConfigDict(extra="ignore"))
class _Saved:
    """What a folder says of the encoder in it."""

    kind: str
    digest: str


def no_features(shown: Any) -> np.ndarray:
    """An encoder for when nothing is learned: one feature, which is always zero."""
    return np.zeros((size_of(shown), 1), np.float32)


NO_FEATURES = Encoder(no_features, "no_features")


def resolve_encoder(encoder: Any, controller: Any = None) -> Encoder | None:
    """Return the encoder that was passed, or the one of a controller that acts on features; None if there is none.

    Args:
        encoder: a callable, an artefact, an `.onnx` file, the folder of a saved encoder, or None.
        controller: whose `encoder` is taken if none was passed.

    Raises:
        EncoderError: it is none, or its files cannot be used.
    """
    if encoder is None:
        encoder = getattr(controller, "encoder", None) if acts_on_features(controller) else None
        if encoder is None:
            return None
    if isinstance(encoder, Encoder):
        return encoder
    if isinstance(encoder, str | Path):
        encoder = OnnxEncoder(encoder) if Path(encoder).suffix == OnnxEncoder.suffix else load_encoder(Path(encoder))
    if not callable(encoder):
        raise EncoderError(
            f"an encoder is a callable of what the environment shows, an .onnx file, or the folder of a saved encoder, "
            f"not {type(encoder).__name__}"
        )
    return Encoder(encoder, name_of(encoder), encoder if isinstance(encoder, Artefact) else None)


def load_encoder(folder: Path) -> Any:
    """Return the encoder that was saved in a folder. Nothing that lies there is executed.

    Raises:
        EncoderError: there is none, its kind is not in `ENCODERS`, or it is not what was saved.
        RunError: what the folder says of it is damaged.
    """
    if not (folder / ARTEFACT).is_file():
        raise EncoderError(f"{folder} holds no saved encoder: there is no {ARTEFACT} in it")
    saved = record_of(_Saved, read_json(folder / ARTEFACT), folder / ARTEFACT)
    if saved.kind not in ENCODERS:
        raise EncoderError(
            f"the encoder in {folder} is a {saved.kind!r}, which is none of {', '.join(sorted(ENCODERS))}: pass it"
        )
    encoder = ENCODERS[saved.kind].load(folder)
    if encoder.digest != saved.digest:
        raise EncoderError(f"the encoder in {folder} is damaged: it is not what was saved")
    return encoder


def acts_on_features(controller: Any) -> bool:
    """Whether a controller can be asked with the features of its own encoder: it has `act_on_features` and `encoder`."""
    return callable(getattr(controller, "act_on_features", None)) and callable(getattr(controller, "encoder", None))


def shares_body(controller: Any, encoder: Encoder | None) -> bool:
    """Whether the features are those of the controller's own encoder, so that it need not run twice."""
    if encoder is None or not acts_on_features(controller):
        return False
    own = controller.encoder
    if own is encoder.call:
        return True
    return encoder.artefact is not None and isinstance(own, Artefact) and own.digest == encoder.artefact.digest
