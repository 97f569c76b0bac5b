"""The studies: `STUDIES` by name, each a list of trials in its own file. `runner` runs them, `report` shows the results."""

from residual_rl.errors import UnknownName
from residual_rl.studies import ablation, default, proof, racing, silver2018, slippery_push
from residual_rl.studies.trial import Study

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
