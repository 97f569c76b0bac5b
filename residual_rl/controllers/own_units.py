"""A built-in controller in a user-supplied environment: it answers in [-1, 1], but reads the environment's units."""

import numpy as np

from residual_rl.controllers.controller import Controller, declared_traits, is_stateful, name_of
from residual_rl.spaces import Layout
from residual_rl.types import Observation


class InOwnUnits:
    """A controller that gets observations in the environment's units."""

    def __init__(self, controller: Controller, layout: Layout):
        self.controller, self.layout = controller, layout
        self.__name__ = name_of(controller)
        for name, value in declared_traits(controller).items():
            setattr(self, name, value)
        if is_stateful(controller):
            self.reset = controller.reset  # type: ignore[attr-defined]

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, A]`."""
        return self.controller(self.layout.raw(observation))
