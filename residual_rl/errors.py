"""The errors of residual-rl. Each message names the thing that is wrong and says what would be right."""

import difflib
from collections.abc import Iterable


class ResidualRLError(Exception):
    """An error that the user can fix. The command line prints its message without a traceback."""


class UnknownName(ResidualRLError):
    """A task, controller, method or preset that does not exist."""

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        known = sorted(known)
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"there is no {kind} called {name!r}.{hint} There are: {', '.join(known)}")


class ControllerError(ResidualRLError):
    """A controller raised an exception or returned an invalid action."""

    step: int | None = None
    """Of the episode, if it failed in one."""


class WorldError(ResidualRLError):
    """An environment fails repeatedly."""


class EncoderError(WorldError):
    """An encoder raised an exception or returned no features, or an environment with images has none."""


class EpisodesLost(WorldError):
    """A whole batch of episodes failed: no environment could be reset, or a vector environment raised."""


class RunError(ResidualRLError):
    """A run directory cannot be used: it is locked, damaged, unfinished, or has another configuration."""


class DemonstrationError(ResidualRLError):
    """Demonstrations cannot be read or written, or they do not fit each other or an environment."""


class Interrupted(ResidualRLError):
    """Training was interrupted; its state is on disk."""


class HubError(ResidualRLError):
    """A bundle cannot be pushed or pulled."""
