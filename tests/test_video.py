"""Video files: every frame at its time, written atomically."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from residual_rl.errors import ResidualRLError
from residual_rl.pictures import video
from residual_rl.pictures.video import Caption


def frames(count: int) -> list[np.ndarray]:
    """Each of one grey, darker than the next."""
    return [np.full((48, 64, 3), 10 * number, np.uint8) for number in range(count)]


def test_mp4_holds_every_frame_at_its_time(tmp_path: Path):
    video.save_video(tmp_path / "film.mp4", frames(12), 25.0)
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.video[0].average_rate == 25
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.shape(shown) == (12, 48, 64, 3)
    np.testing.assert_allclose([picture.mean() for picture in shown], 10 * np.arange(12), atol=5)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_gif_holds_every_frame_at_its_time(tmp_path: Path):
    video.save_video(tmp_path / "film.gif", [*frames(12), frames(12)[-1]], 25.0)
    with Image.open(tmp_path / "film.gif") as gif:
        durations, levels = [], []
        for number in range(gif.n_frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
            levels.append(np.asarray(gif.convert("RGB")).mean())
        assert gif.size == (64, 48)
    assert durations == [40] * 11 + [80]  # equal frames become one
    np.testing.assert_allclose(levels, 10 * np.arange(12), atol=1)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_video_is_written_whole_or_not_at_all(tmp_path: Path, suffix: str):
    def interrupted():
        yield from frames(3)
        raise KeyboardInterrupt

    path = tmp_path / f"film{suffix}"
    path.write_text("what was there before")
    with pytest.raises(KeyboardInterrupt):
        video.save_video(path, interrupted(), 25.0)
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_to_is_named_before_anything_is_drawn(tmp_path: Path):
    (tmp_path / "file").touch()

    def drawing():
        raise AssertionError("drawn")
        yield

    with pytest.raises(ResidualRLError, match=r"cannot write .*film\.gif"):
        video.save_video(tmp_path / "file" / "film.gif", drawing(), 25.0)


def test_caption_lies_below_the_frame():
    caption = Caption(("push: zero", "episode 1"), ("step 3 of 50", "solved"), success=True)
    frame = video.with_caption(frames(5)[4], caption)
    np.testing.assert_array_equal(frame[:48], frames(5)[4])
    assert frame.shape[0] > 48
    assert (frame[48:] < 128).any()
