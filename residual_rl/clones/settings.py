"""The settings of cloning, and the form of a clone that follows from them and from the demonstrations."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.demonstrations.checking import is_image
from residual_rl.demonstrations.episodes import About
from residual_rl.errors import DemonstrationError

PUBLISHED_OFFSETS = (0, 10, 20, 30)
CROPS = {84: 76, 240: 224}
"""Sides of crops by the side of an image; of others, the crop is as large in proportion as the published one."""
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Cloning:
    """How a base is cloned. The defaults are those of Alakuijala et al. 2021, section III-A, except where a field says more."""

    epochs: Count = 100
    batch_size: Count = 64
    rate: Annotated[float, Field(gt=0.0)] = 1e-3
    """Learning rate of Adam; there is no schedule."""
    seed: Annotated[int, Field(ge=0)] = 0
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Part of the episodes, one at least, that is not trained on: the epoch with the lowest loss there is chosen. Whole
    episodes, without augmentation, so that the choice depends neither on neighbouring steps nor on chance."""
    offsets: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Steps ahead of which the actions are predicted; the first is the one that acts. None: 0, 10, 20 and 30 for images, only
    0 for vectors."""
    gripper: Annotated[int, Field(ge=0)] | None = None
    """Component of the action that opens and closes a gripper: it is learned as a class, by cross-entropy. The label is the
    sign of the command; a command of 0 continues what was."""
    gripper_weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    early_closing: Annotated[int, Field(ge=0)] = 5
    """If the gripper changes within so many next steps, it is labelled so already."""
    image: str | None = None
    """Entry of the observation that is the camera image; None for the only one."""
    viewpoints: tuple[str, ...] = ()
    """Entries of the demonstrations that show the same scene as `image` from other places: one is drawn for each sample."""
    proprioception: bool = True
    """With images: whether the base sees the other entries too. The residual always does."""
    width: Annotated[int, Field(ge=4, le=64)] = 16
    """Of the first stage of the image network; the last one, the features, is 8 times as wide. 32 is the published network."""
    crop: Count | None = None
    """Side of the crops of images, in pixels."""
    hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (256, 256)
    """Layers of a clone of vectors."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Form:
    """What a clone takes and gives."""

    vectors: tuple[tuple[str, int], ...]
    """Entries of an observation that are vectors, by their keys joined by "/", and their sizes."""
    image: str
    """Entry that is the camera image; empty if there is none."""
    image_shape: tuple[int, ...]
    """Of one frame, `[H, W, C]`; empty if there is no image."""
    frames: Count
    crop: tuple[int, ...]
    """Height and width of the part of an image that the network sees."""
    width: int
    hidden: tuple[int, ...]
    offsets: tuple[int, ...]
    gripper: int | None
    proprioception: bool
    action_shape: tuple[int, ...]
    action_size: int
    environment: str = ""
    rate: float | None = None

    @property
    def vector_size(self) -> int:
        """Numbers of all vectors together."""
        return sum(size for _, size in self.vectors)

    @property
    def continuous(self) -> list[int]:
        """Components of an action that are numbers, not classes."""
        return [each for each in range(self.action_size) if each != self.gripper]

    @property
    def outputs(self) -> int:
        """Numbers that the network predicts for each offset: the continuous components, and two logits of a gripper."""
        return len(self.continuous) + (0 if self.gripper is None else 2)

    @property
    def image_size(self) -> int:
        """Width of the features of an image."""
        return 8 * self.width if self.image else 0


def form_of(about: About, settings: Cloning) -> Form:
    """Return the form of a clone.

    Raises:
        DemonstrationError: the settings name entries that there are not, or the image cannot be chosen.
    """
    entries = about.entries
    images = [key for key, space in entries.items() if is_image(space)]
    for key in (settings.image, *settings.viewpoints):
        if key is not None and key not in images:
            raise DemonstrationError(f"{key!r} is no image of the demonstrations; their images are {images}")
    image = settings.image or (images[0] if len(images) == 1 else "")
    if images and not image:
        raise DemonstrationError(f"the demonstrations have several images, {images}: choose one by image=...")
    shape = _channels(entries[image].shape) if image else ()
    for key in settings.viewpoints:
        if _channels(entries[key].shape) != shape:
            raise DemonstrationError(f"viewpoint {key!r} has shape {entries[key].shape}, and {image!r} {shape}")
    size = 1
    for length in about.action_space.shape:
        size *= length
    if settings.gripper is not None and settings.gripper >= size:
        raise DemonstrationError(f"gripper is component {settings.gripper}, but actions have {size}, counted from 0")
    default = PUBLISHED_OFFSETS if image else (0,)
    return Form(
        vectors=tuple((key, _size(space.shape)) for key, space in entries.items() if key not in images),
        image=image,
        image_shape=shape,
        frames=about.frames if image else 1,
        crop=_crop(shape, settings.crop),
        width=settings.width,
        hidden=settings.hidden,
        offsets=default if settings.offsets is None else settings.offsets,
        gripper=settings.gripper,
        proprioception=settings.proprioception,
        action_shape=about.action_space.shape,
        action_size=size,
        environment=about.environment,
        rate=about.rate,
    )


def _channels(shape: Any) -> tuple[int, ...]:
    return tuple(shape) if len(shape) == 3 else (*shape, 1)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _crop(shape: tuple[int, ...], asked: int | None) -> tuple[int, ...]:
    if not shape:
        return ()
    sides = shape[:2]
    if asked is not None:
        if asked > min(sides):
            raise DemonstrationError(f"a crop of {asked} pixels does not fit into an image of {sides}")
        return asked, asked
    return tuple(CROPS.get(side, side - side // 15) for side in sides)
