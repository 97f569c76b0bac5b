"""Bases with weights, which a run keeps, and bases that are made before they are improved."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

from residual_rl.controllers.network import FILE as NETWORK
from residual_rl.controllers.network import NetworkController
from residual_rl.controllers.table import TableController
from residual_rl.errors import ControllerError
from residual_rl.tasks.task import AnyTask
from residual_rl.types import Observation


@runtime_checkable
class Artefact(Protocol):
    """A controller that can be written into a directory: a table, a network, a learned model.

    Its proposals are those of a `Controller`: `Observation[B] -> base_action [B, A]`, in units where the bounds are -1 and 1.
    """

    kind: str
    """Its key in `ARTEFACTS`, if a run that keeps it is to be loaded without passing anything."""

    @property
    def digest(self) -> str:
        """Return a hexadecimal digest that distinguishes it from all others of its kind."""
        ...

    def __call__(self, observation: Observation) -> Any:
        """Return a base action for each row."""
        ...

    def save(self, path: Path, /) -> None:
        """Write it into an existing directory."""
        ...

    @classmethod
    def load(cls, path: Path, /) -> Self:
        """Return what `save` wrote into a directory. Executes nothing that lies there.

        Raises:
            ControllerError: there is none, or it is damaged.
        """
        ...


class Deferred:
    """A kind of artefact whose module imports JAX, which waits until one is loaded."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def load(self, path: Path) -> Any:
        """Return what its `save` wrote into a directory."""
        return getattr(import_module(self.module), self.name).load(path)


FILES = {TableController.kind: "table.npz", NetworkController.kind: NETWORK, "pets": "model.safetensors"}
"""The file by which a kind of the library is found in a directory."""
ARTEFACTS: dict[str, Any] = {
    TableController.kind: TableController,
    NetworkController.kind: NetworkController,
    "pets": Deferred("residual_rl.pets.planner", "PETSPlanner"),
    "clone": Deferred("residual_rl.clones.artefact", "VectorClone"),
    "image-clone": Deferred("residual_rl.clones.artefact", "ImageClone"),
}
"""Classes of `Artefact`, or what loads one, by kind."""


def artefact_in(directory: str | Path) -> tuple[Artefact, bool]:
    """Return the artefact in a directory, or in the `base` folder of a run's directory.

    Returns:
        The artefact; and whether a run has made it, so that its actions have the bounds -1 and 1 in any environment.

    Raises:
        ControllerError: there is none of the library's kinds, or it is damaged.
    """
    for place in (Path(directory) / "base", Path(directory)):
        for kind, file in FILES.items():
            if (place / file).is_file():
                return ARTEFACTS[kind].load(place), kind == "pets" or (place / "preparation.json").is_file()
    raise ControllerError(f"{directory} holds no base: no run's base/, and none of {', '.join(FILES.values())}")


SAVED = "artefact.json"
"""Says, in a folder, which kind of artefact lies there."""
CLONE = "clone.safetensors"
"""The file by which a clone is found in a folder, whatever its kind."""


def from_folder(controller: Any) -> Any:
    """Return the clone in a folder, or in the `base` folder of a run; what does not name such a folder is returned as it is.

    Raises:
        ControllerError: it is damaged.
    """
    places = [Path(controller), Path(controller) / "base"] if isinstance(controller, str | Path) else []
    folder = next((place for place in places if (place / CLONE).is_file() and (place / SAVED).is_file()), None)
    if folder is None:
        return controller
    file = folder / SAVED
    try:
        values = json.loads(file.read_text())
        kind, digest = values["kind"], values["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ControllerError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    if kind not in ARTEFACTS:
        raise ControllerError(f"the controller in {controller} is a {kind!r}, which is none of {', '.join(sorted(ARTEFACTS))}")
    made = ARTEFACTS[kind].load(folder)
    if made.digest != digest:
        raise ControllerError(f"the controller in {controller} is damaged: it is not what was saved")
    return made


class Preparation(NamedTuple):
    """The result of a preparation."""

    artefact: Artefact
    steps: int
    """Environment steps that it took, those before an interruption included."""


Report = Callable[[int], None]
"""To be called with the environment steps done so far, whenever they are safe in the directory.

It raises `Interrupted` if the run is asked to stop.
"""


@runtime_checkable
class Prepared(Protocol):
    """A base that is made before it is improved: from demonstrations, or from episodes of its own.

    It is made inside the run. Its environment steps count: training begins after them, and ends at the same budget.
    """

    settings: dict[str, Any]
    """The settings that decide, beside task, budget and seed, how it is made: plain JSON values. A stopped run resumes only
    with the same settings."""

    def prepare(self, task: AnyTask, budget: int, seed: int, directory: Path, report: Report) -> Preparation:
        """Make the base.

        Args:
            task: `open_lanes` gives lanes to roll out in. Nothing else uses seeds from `Purpose.PREPARATION` on.
            budget: of environment steps, training included; fewer must be taken.
            seed: of the run.
            directory: for this preparation only; its progress is kept there. After a kill, the same call resumes from it.
            report: see `Report`.
        """
        ...

    def load(self, directory: Path, /) -> Artefact:
        """Return the artefact that was saved in a directory."""
        ...
