"""The studies: `STUDIES` by name, each a list of trials in a file of its own; `runner` runs them, `report` shows what came."""

from residual_rl.errors import UnknownName
from residual_rl.studies import ablation, default, proof, silver2018, slippery_push
from residual_rl.studies.trial import Study

STUDIES = {study.name: study for study in (slippery_push.STUDY, default.STUDY, ablation.STUDY, proof.STUDY, silver2018.STUDY)}


def find_study(name: str) -> Study:
    """The study called `name`.

    Raises:
        UnknownName: with the names that exist.
    """
    if name not in STUDIES:
        raise UnknownName("study", name, STUDIES)
    return STUDIES[name]
