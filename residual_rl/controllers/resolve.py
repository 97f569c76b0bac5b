"""Resolve a name, a file, a model or a callable into a base, once."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from residual_rl.controllers import CONTROLLERS, Controller, NetworkController, TableController, make_controller, name_of
from residual_rl.controllers.adapted import Adapted, Character, EpisodeCopies
from residual_rl.controllers.artefacts import ARTEFACTS, Artefact, Prepared, artefact_in, from_folder
from residual_rl.controllers.controller import (
    can_be_requeried,
    declared_traits,
    is_random,
    is_stateful,
    reads_goal,
    reads_state,
    sees_more,
)
from residual_rl.controllers.episode_start import keeps_lanes
from residual_rl.controllers.models import ONNX_SUFFIX, OnnxModel, StableBaselinesModel, is_stable_baselines
from residual_rl.controllers.network import SUFFIXES, split_gain
from residual_rl.controllers.own_units import InOwnUnits
from residual_rl.errors import ControllerError
from residual_rl.spaces import Layout
from residual_rl.types import Spec

FROM_FILES = (TableController, NetworkController)
"""Controllers whose arrays a run keeps."""
OURS = ("residual_rl.controllers.", "residual_rl.pets.")
"""Where the controllers of the library are."""
PLANNER = "pets"
"""The kind of artefact that plans with a learned model; its actions have the bounds -1 and 1 in any environment."""


@dataclass(frozen=True)
class Traits:
    """The traits of a base, as declared or as measured."""

    reads_goal: bool
    reads_state: bool
    is_random: bool
    is_stateful: bool
    can_be_requeried: bool
    """Whether hindsight may re-query it at stored observations."""
    sees_more: bool = False

    @property
    def is_hidden(self) -> bool:
        """Whether its proposal does not follow from the observation, so that it must be an input of the residual."""
        return self.is_random or self.is_stateful or self.sees_more


def traits_of(controller: Any) -> Traits:
    """Return the traits that a controller declares."""
    return Traits(
        reads_goal=reads_goal(controller),
        reads_state=reads_state(controller),
        is_random=is_random(controller),
        is_stateful=is_stateful(controller),
        can_be_requeried=can_be_requeried(controller),
        sees_more=sees_more(controller),
    )


@dataclass(frozen=True)
class Base:
    """The controller to improve: the callable, its name, its traits, and the artefact that a run keeps of it."""

    controller: Controller
    """As it was passed; in the library's units after `fitted`."""
    name: str
    traits: Traits
    artefact: Artefact | None = None
    is_users: bool = False
    """Whether it is a user-supplied callable, which can be identified only by its name and its actions."""
    speaks_environments_language: bool = False
    """Whether it takes an environment's own observations, or gives actions in its units."""
    acts_on_features: bool = False
    """Whether it is asked with the features of its own encoder, which then does not run twice."""

    def layout_in(self, layout: Layout) -> Layout:
        """The layout of what it is shown in an environment with this layout."""
        return layout.of_features if self.acts_on_features else layout

    def fitted(self, layout: Layout, character: Character | None) -> "Base":
        """Return the base in the library's units, for an environment with this layout."""
        controller: Any = self.controller
        layout = self.layout_in(layout)
        if character is not None:
            controller = Adapted(controller, layout, character)
        elif self.speaks_environments_language and isinstance(controller, FROM_FILES):
            controller = controller.in_units(layout.to_unit, layout.raw)
        elif layout.units is not None:
            controller = InOwnUnits(controller, layout)
        return replace(self, controller=controller, traits=traits_of(controller), speaks_environments_language=False)


def is_file_of_controller(name: str) -> bool:
    """Return whether a controller's name is that of a file."""
    return split_gain(name)[0].endswith((ONNX_SUFFIX, *SUFFIXES))


def resolve(controller: Any, spec: Spec, num_threads: int | None = None) -> Base:
    """Return the base for a callable, a name or a file; a `Base` is returned unchanged.

    Raises:
        ControllerError, UnknownName: it is not a controller.
    """
    if isinstance(controller, Base):
        return controller
    controller = from_folder(controller)
    if isinstance(controller, str):
        if controller.endswith(ONNX_SUFFIX):
            controller = OnnxModel(controller)
        elif Path(controller).is_dir() and controller not in CONTROLLERS:
            artefact, is_prepared = artefact_in(controller)
            return of_artefact(artefact, in_environments_units=not is_prepared)
        else:
            made = make_controller(controller, spec, num_threads)
            if isinstance(made, Prepared):
                raise made_inside(controller)
            if isinstance(made, FROM_FILES):
                return of_artefact(made, in_environments_units=True)
            return Base(made, controller, traits_of(made))
    elif isinstance(controller, Prepared):
        raise made_inside(name_of(controller))
    elif is_stable_baselines(controller):
        controller = StableBaselinesModel(controller)
    if isinstance(controller, FROM_FILES):
        return of_artefact(controller, in_environments_units=True)
    if getattr(controller, "kind", None) == PLANNER and type(controller).__module__.startswith(OURS):
        return of_artefact(controller)
    if not callable(controller):
        raise ControllerError(
            f"a controller is a callable, a model of Stable-Baselines3, or a name, not {type(controller).__name__}"
        )
    name = name_of(controller)
    name = f"{type(controller).__module__}.{name}" if name in CONTROLLERS else name
    ours = type(controller).__module__.startswith(OURS) and not hasattr(controller, "takes_batch")
    users: Any = controller
    kept = users if isinstance(users, Artefact) and users.kind in ARTEFACTS else None
    return Base(users, name, traits_of(controller), kept, is_users=not ours, speaks_environments_language=not ours)


def prepared_called(controller: Any, spec: Spec) -> Any:
    """Return the prepared base of that name, if it is one; else what was passed."""
    if isinstance(controller, str) and controller in CONTROLLERS and CONTROLLERS[controller].is_prepared:
        return make_controller(controller, spec)
    return controller


def made_inside(name: str) -> ControllerError:
    """Return the error for a prepared base where there is no run."""
    return ControllerError(
        f"{name} is made inside of a run: it can be improved, not evaluated alone. After that, the run's directory is a "
        "controller, and so is each folder of an artefact in its base/"
    )


def of_artefact(artefact: Any, name: str = "", in_environments_units: bool = False) -> Base:
    """Return an artefact as a base. If a user made it, its actions may be in an environment's units."""
    return Base(
        artefact, name or name_of(artefact), traits_of(artefact), artefact, speaks_environments_language=in_environments_units
    )


def on_features(base: Base) -> Base:
    """The base that is asked with features by its `act_on_features`, and not with what the environment shows."""
    return replace(base, controller=OnFeatures(base.controller), acts_on_features=True)


class OnFeatures:
    """What a controller does with the features of its own encoder."""

    takes_batch = True

    def __init__(self, controller: Any):
        self.controller = controller
        self.__name__ = name_of(controller)
        for name, value in declared_traits(controller).items():
            setattr(self, name, value)
        if is_stateful(controller):
            self.reset = controller.reset

    def __call__(self, features: Any) -> Any:
        """Return actions `[B, A]` in the environment's units, from features `[B, F]`; with goals, from a dictionary."""
        return self.controller.act_on_features(features)


def for_lanes(base: Base) -> Base:
    """Return the base in a task of the library. If its `reset` is for one episode, it is called with single observations."""
    if not is_stateful(base.controller) or keeps_lanes(base.controller):
        return base
    controller = EpisodeCopies(base.controller, takes_batch=False)
    return replace(base, controller=controller, traits=traits_of(controller))
