"""Read and write the videos of demonstrations, frame by frame."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from residual_rl.errors import DemonstrationError
from residual_rl.optional import need

EXTRA = "lerobot", "demonstrations with videos"
QUALITY = {"crf": "18", "preset": "fast"}
"""Of H.264: hardly visible losses."""


def read_frames(file: Path, start: float, number: int, fps: float, name: str) -> np.ndarray:
    """Return so many frames of a video from a time on: `[number, H, W, 3]` uint8.

    Args:
        file: the video.
        start: seconds.
        number: of frames.
        fps: frames per second.
        name: of the episode, for messages.

    Raises:
        DemonstrationError: it is missing, damaged or too short, or its frames change their size.
    """
    av = need("av", *EXTRA)
    frames: list[np.ndarray] = []
    if not file.is_file():
        raise DemonstrationError(f"{name}: there is no video {file}")
    try:
        with av.open(str(file)) as container:
            stream: Any = container.streams.video[0]
            stream.codec_context.thread_count = 1
            if start > 0.0:
                container.seek(int(start / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time < start - 0.5 / fps:
                    continue
                frames.append(frame.to_ndarray(format="rgb24"))
                if frames[-1].shape != frames[0].shape:
                    raise DemonstrationError(
                        f"{name}: {file} changes its size: {frames[0].shape[:2]} at frame 0, {frames[-1].shape[:2]} at frame "
                        f"{len(frames) - 1}"
                    )
                if len(frames) == number:
                    break
    except DemonstrationError:
        raise
    except Exception as error:  # FFmpeg's errors, and an IndexError of a file without a picture
        raise DemonstrationError(
            f"{name}: {file} is damaged after {len(frames)} of {number} frames: {type(error).__name__}: {error}"
        ) from error
    if len(frames) != number:
        raise DemonstrationError(f"{name}: {file} is too short: it has {len(frames)} of {number} frames")
    return np.stack(frames)


def write_frames(file: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write a video of RGB frames `[H, W, 3]` uint8; H.264 is lossy."""
    av = need("av", *EXTRA)
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream: Any = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options=QUALITY)
                stream.height, stream.width = frame.shape[:2]
                odd = stream.height % 2 or stream.width % 2
                stream.pix_fmt = "yuv444p" if odd else "yuv420p"
                stream.codec_context.thread_count = 1
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")):
                container.mux(packet)
        if stream is not None:
            for packet in stream.encode():
                container.mux(packet)
