"""The page of all hyperparameters says what the code says."""

from hyperparameters import PAGE, RENEW, SECTIONS, page, rows

from residual_rl.config import to_json
from residual_rl.presets import PRESETS, make_config


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == page(), f"docs/reference/hyperparameters.md is out of date; renew it with: {RENEW}"


def test_the_page_has_every_field_with_a_type_and_a_meaning() -> None:
    text = PAGE.read_text()
    for preset in PRESETS:
        config = make_config(preset, task="TASK", controller="CONTROLLER")
        named = {path for path, *_ in rows(config)}
        assert named == leaves(to_json(config))
        for path, kind, _, meaning in rows(config):
            assert f"| `{path}` | " in text
            assert path[: path.rfind(".") + 1] in SECTIONS
            assert kind, path
            assert meaning, f"{path} has no docstring"


def leaves(values: dict[str, object], prefix: str = "") -> set[str]:
    """Return the paths of all entries that have no entries; a list of records has them by number."""
    found: set[str] = set()
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = {str(number): one for number, one in enumerate(value)}
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return found
