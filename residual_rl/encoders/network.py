"""A network in an ONNX file as an encoder."""

from pathlib import Path
from typing import Any, Self

import numpy as np

from residual_rl.controllers.models import OnnxModel
from residual_rl.errors import ControllerError, EncoderError

FILE = "encoder.onnx"


class OnnxEncoder:
    """A network whose first output is the features `[B, F]`; its inputs are the observation, or its entries by name.

    Raises:
        EncoderError: the file cannot be used.
        ResidualRLError: onnx is not installed.
    """

    kind: str = "onnx"
    suffix = ".onnx"

    def __init__(self, path: str | Path):
        try:
            self._network = OnnxModel(path)
        except ControllerError as error:
            raise EncoderError(str(error)) from error
        self.digest = self._network.digest

    @property
    def __name__(self) -> str:
        """It is known by what it holds, wherever its file lies."""
        return f"onnx-{self.digest[:12]}"

    def __call__(self, shown: Any) -> np.ndarray:
        """Return the features of a batch."""
        return self._network(shown)

    def save(self, path: Path, /) -> None:
        """Write the network, with its weights, into a directory that exists."""
        (path / FILE).write_bytes(self._network.contents())

    @classmethod
    def load(cls, path: Path, /) -> Self:
        """Return what `save` wrote.

        Raises:
            EncoderError: there is none, or it is damaged.
        """
        return cls(path / FILE)
