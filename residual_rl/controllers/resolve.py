"""Resolve a name, a file, a model or a callable into a controller."""

from typing import Any

from residual_rl.controllers import CONTROLLERS, TableController, make_controller, name_of
from residual_rl.controllers.models import ONNX_SUFFIX, OnnxModel, StableBaselinesModel, is_stable_baselines
from residual_rl.errors import ControllerError
from residual_rl.types import Spec


def controller_of(controller: Any, spec: Spec, num_threads: int | None = None) -> tuple[Any, str]:
    """What was brought, or what it names, and what to call it.

    Raises:
        ControllerError, UnknownName: it is none.
    """
    if isinstance(controller, str):
        if controller.endswith(ONNX_SUFFIX):
            controller = OnnxModel(controller)
        else:
            made = make_controller(controller, spec, num_threads)
            return made, name_of(made) if isinstance(made, TableController) else controller
    elif is_stable_baselines(controller):
        controller = StableBaselinesModel(controller)
    if not callable(controller):
        raise ControllerError(
            f"a controller is a callable, a model of Stable-Baselines3, or a name, not {type(controller).__name__}"
        )
    name = name_of(controller)
    return controller, f"{type(controller).__module__}.{name}" if name in CONTROLLERS else name


def speaks_our_language(controller: Any) -> bool:
    """Whether it is one of the library's own, made for observations and actions as the library has them."""
    return type(controller).__module__.startswith("residual_rl.controllers.") and not hasattr(controller, "takes_batch")
