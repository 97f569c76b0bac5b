"""The studies: `STUDIES` by name, each a list of trials in its own file. `run` runs them, `report` shows the results."""

from typing import TYPE_CHECKING, Any

from residual_rl.errors import UnknownName
from residual_rl.studies import ablation, default, proof, racing, silver2018, slippery_push
from residual_rl.studies.trial import Study, Trial

if TYPE_CHECKING:
    from residual_rl.studies.running import run

__all__ = ["STUDIES", "Study", "Trial", "find_study", "run"]

STUDIES = {
    study.name: study
    for study in (slippery_push.STUDY, default.STUDY, ablation.STUDY, proof.STUDY, racing.STUDY, silver2018.STUDY)
}


def find_study(name: str) -> Study:
    """Return the study called `name`.

    Raises:
        UnknownName: there is no such study; the message lists the names.
    """
    if name not in STUDIES:
        raise UnknownName("study", name, STUDIES)
    return STUDIES[name]


def __getattr__(name: str) -> Any:
    # Whoever only wants the list of studies need not wait for JAX.
    if name == "run":
        from importlib import import_module

        return import_module(f"{__name__}.running").run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
