"""Write frames with captions as MP4, GIF or PNG."""

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from residual_rl.optional import need
from residual_rl.storage import write_whole

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

NEEDED = {".mp4": ("av", "PIL"), ".gif": ("PIL",), ".png": ("PIL",)}  # import names of packages
QUALITY = "18"  # x264's constant rate factor: a lower value gives better and larger files
MARGIN, LINE, TEXT = 10, 20, 14  # pixels
INK = (40, 40, 45)
PAPER = (255, 255, 255)
GOOD, BAD = (0, 114, 178), (200, 80, 0)


class Caption(NamedTuple):
    """Two lines below a frame."""

    left: tuple[str, str]
    right: tuple[str, str]
    success: bool | None = None
    """Selects the colour of the second line on the right."""


def check_can_write(suffix: str) -> None:
    """Raise ResidualRLError, with what to install, if a package for such files is missing."""
    for package in NEEDED[suffix]:
        need(package, "video", f"{suffix} files")


def with_caption(frame: np.ndarray, caption: Caption) -> np.ndarray:
    """Return the frame with the caption below it: `[H, W, 3] -> [H + 2 * LINE + 8, W, 3]`."""
    from PIL import Image, ImageDraw

    height, width = frame.shape[:2]
    image = Image.new("RGB", (width, height + 2 * LINE + 8), PAPER)
    image.paste(Image.fromarray(frame))
    draw = ImageDraw.Draw(image)
    for line in range(2):
        y = height + 4 + line * LINE + LINE // 2
        ink = INK if caption.success is None or line == 0 else GOOD if caption.success else BAD
        write(draw, (MARGIN, y), caption.left[line], "lm")
        write(draw, (width - MARGIN, y), caption.right[line], "rm", ink)
    return np.asarray(image)


def write(
    draw: "ImageDraw", at: tuple[int, int], text: str, anchor: str, ink: tuple[int, int, int] = INK, size: int = TEXT
) -> None:
    """Draw text at a pixel; `anchor` as in Pillow."""
    draw.text(at, text, ink, _font(size), anchor)


@cache
def _font(size: int) -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)


def png(image: np.ndarray) -> bytes:
    """Encode a picture `[H, W, 3]` as PNG."""
    check_can_write(".png")
    buffer = io.BytesIO()
    _indexed(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _indexed(image: np.ndarray) -> "Image":
    """Reduce an image to 256 colours. Unlike the median cut, an octree keeps the colour of thin lines."""
    from PIL import Image

    return Image.fromarray(image).quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def grid(rows: Sequence[tuple[str, Sequence[np.ndarray]]], columns: Sequence[str]) -> np.ndarray:
    """Arrange pictures in rows with a line of text above each, and a name below each column: `[H, W, 3]`."""
    from PIL import Image, ImageDraw

    height, width = rows[0][1][0].shape[:2]
    gap = 4
    image = Image.new("RGB", (len(columns) * (width + gap) - gap, len(rows) * (LINE + height + gap) + LINE), PAPER)
    draw = ImageDraw.Draw(image)
    for row, (name, pictures) in enumerate(rows):
        top = row * (LINE + height + gap)
        write(draw, (0, top + LINE // 2), name, "lm")
        for column, picture in enumerate(pictures):
            image.paste(Image.fromarray(picture), (column * (width + gap), top + LINE))
    for column, name in enumerate(columns):
        write(draw, (column * (width + gap), image.height - LINE // 2), name, "lm")
    return np.asarray(image)


def save_video(path: Path, frames: Iterable[np.ndarray], frames_per_second: float) -> None:
    """Write frames `[H, W, 3]` uint8 of equal size as MP4 or GIF.

    Raises:
        ResidualRLError: the file cannot be written.
    """
    encode = {".mp4": _mp4, ".gif": _gif}[path.suffix.lower()]
    write_whole(path, lambda beside: encode(beside, iter(frames), frames_per_second))


def _mp4(path: Path, frames: Iterator[np.ndarray], frames_per_second: float) -> None:
    import av

    first = next(frames)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(frames_per_second).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = *first.shape[:2], "yuv420p"
        stream.options = {"crf": QUALITY}
        for frame in itertools.chain([first], frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _gif(path: Path, frames: Iterator[np.ndarray], frames_per_second: float) -> None:
    first, *others = map(_indexed, frames)
    duration = round(1000 / frames_per_second)
    first.save(path, "GIF", save_all=True, append_images=others, duration=duration, loop=0)
