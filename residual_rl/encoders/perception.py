"""From what an environment shows to what the learner sees: the encoder runs once for each step and batch."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from residual_rl.encoders.encoder import Encoder
from residual_rl.errors import EncoderError, ResidualRLError
from residual_rl.spaces import Encoded, Entry, Layout
from residual_rl.types import Observation

LEAST_SIDE = 8  # of a gray image without a third axis
LEAST_SIZE = 1024  # numbers of an image that is not of bytes
BYTES = 4  # of a number in the replay


class Perception:
    """Turns rows that a layout has written into observations."""

    def __init__(self, layout: Layout, encoder: Encoder | None):
        """Make the perception of a layout; with an encoder, of one that `encoded` made.

        Raises:
            EncoderError: one of the two is missing.
        """
        if (layout.encoded is None) != (encoder is None):
            raise EncoderError("this environment is seen with an encoder" if encoder is None else "there is nothing to encode")
        self.layout = layout
        self.encoder = encoder
        self._features = layout.of_features

    def __call__(self, rows: np.ndarray, broken: Iterable[int] = ()) -> Observation:
        """Return what lies in rows `[B, R]`; what is `broken`, by row number, is not finite in it."""
        layout, encoder = self.layout, self.encoder
        if encoder is None:
            return layout.split(rows)
        packing = layout.packing
        rows = rows[:, : packing.width]
        shown = packing.read(rows.copy())  # an encoder may write into what it is shown
        seen = shown["observation"] if layout.goal else shown
        features = encoder(seen, len(rows), layout.observation_size)
        numbers = np.empty((len(rows), layout.width))
        self._features.write({**shown, "observation": features} if layout.goal else features, numbers)
        unsound = ~packing.sound(rows)
        unsound[list(broken)] = True
        if unsound.any():
            numbers[unsound] = np.nan
        observation = layout.split(numbers)
        observation["shown"] = rows
        return observation


def encoded(layout: Layout, encoder: Encoder) -> Layout:
    """Return the layout of an environment that is seen through an encoder, which is asked once, about zeros.

    Raises:
        EncoderError: what it returns are no features.
    """
    blank = replace(layout, encoded=Encoded(layout.observation, encoder.name))
    shown = blank.packing.read(np.zeros((2, blank.packing.width), np.uint8))
    features = encoder(shown["observation"] if layout.goal else shown, 2)
    return replace(blank, observation=(Entry((), (features.shape[1],), str(features.dtype)),))


def images_in(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that are images: bytes with two axes of a picture, or many numbers with three axes."""

    def is_image(entry: Entry) -> bool:
        if np.dtype(entry.dtype) == np.uint8:
            return len(entry.shape) >= 3 or (len(entry.shape) == 2 and min(entry.shape) >= LEAST_SIDE)
        return len(entry.shape) >= 3 and entry.size >= LEAST_SIZE

    return [entry for entry in entries if is_image(entry)]


def refusal(layout: Layout, stored: int) -> ResidualRLError:
    """What to say of an environment that shows images, if so many transitions were to be stored without an encoder."""
    image = images_in(layout.observation)[0]
    each = 2 * BYTES * layout.observation_size  # an observation, and the next one
    return EncoderError(
        f"{_name(image)} is an image, {image.dtype} of shape {image.shape}, and images are not flattened: pass encoder=..., a "
        "callable of a batch of observations to features [B, F], or a saved network (.onnx, or a folder). Flattened, a "
        f"transition would take {_bytes(each)}, and a replay of {stored:,} of them {_bytes(each * stored)}"
    )


def check_goals(layout: Layout) -> None:
    """Check that the goals are vectors.

    Raises:
        EncoderError: one is an image.
    """
    for image in images_in(layout.goal):
        raise EncoderError(
            f"{_name(image)} of the goals is an image, {image.shape}: goals must be vectors, an encoder leaves them"
        )


def _name(entry: Any) -> str:
    return f"entry {'/'.join(entry.path)!r}" if entry.path else "the observation"


def _bytes(number: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number = number / 1000  # type: ignore[assignment]
    return f"{number:,.3g} TB"
