"""Configurations: typed, frozen, checked when built."""

import dataclasses
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from residual_rl import config as configuration
from residual_rl.config import differences, from_json, to_json
from residual_rl.errors import ResidualRLError, UnknownName
from residual_rl.presets import METHODS, PRESETS, make_config


def made(preset="default", **fields):
    controller = "zero" if fields.get("method") == "scratch" else "reactive-push"
    return make_config(preset, task="push", controller=controller, **fields)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", METHODS)
def test_a_configuration_survives_being_written(preset, method):
    if (preset, method) == ("default", "expert-explore"):
        pytest.skip("there is no such configuration")
    config = made(preset, method=method, seed=3, steps=1234)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("preset", PRESETS)
def test_every_field_of_a_configuration_survives_being_written(preset):
    """Also where it is not the default."""
    config = made(preset)
    algorithm = dataclasses.replace(config.algorithm, hidden=(7, 9), target_rate=0.125)
    hindsight = dataclasses.replace(config.hindsight, relabel_ratio=0.5)
    config = replace(config, algorithm=algorithm, hindsight=hindsight)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_its_fields_and_leaves_all_others_at_their_defaults(preset):
    """On Push, whose episodes have the length that presets are for."""
    fields = PRESETS[preset][1]
    assert made(preset) == configuration.Config(task="push", controller="reactive-push", preset=preset, **fields)


def test_no_two_presets_are_the_same():
    configs = [to_json(replace(made(preset), preset="default")) for preset in PRESETS]
    assert all(differences(one, other) for one, other in pairwise(configs))


def test_silver2018_is_the_published_composition():
    """Silver et al. 2018: the residual is unclipped by the base, and scaled so that it can reverse any base action."""
    composition = made("silver2018").algorithm.composition
    assert composition.action(np.array([4.0]), np.array([-1.0])) == [1.0]  # a proposal of 4 is not clipped first
    assert composition.action(np.array([1.0]), np.array([-1.0])) == [-1.0]


def test_a_preset_can_be_overruled():
    assert made("silver2018", batch_size=64).batch_size == 64


@pytest.mark.parametrize("preset", PRESETS)
def test_algorithms_are_hashable_so_that_they_can_be_compiled_for(preset):
    assert hash(made(preset).algorithm) == hash(made(preset).algorithm)


def test_an_unknown_preset_is_told_what_exists():
    with pytest.raises(UnknownName) as error:
        made("silver2019")
    assert "'silver2019'" in str(error.value)
    assert "Did you mean 'silver2018'" in str(error.value)
    for preset in PRESETS:
        assert preset in str(error.value)


def test_an_unknown_algorithm_is_told_what_exists():
    with pytest.raises(UnknownName, match=r"no algorithm called 'ppo'.*gated-ddpg"):
        from_json(to_json(made()) | {"algorithm": {"name": "ppo"}})


def test_an_unknown_method_is_told_what_exists():
    with pytest.raises(UnknownName) as error:
        made(method="guess")
    for method in ("guess", *METHODS):
        assert method in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", -5),
        ("seed", -1),
        ("batch_size", 0),
        ("updates_per_cycle", 0),
        ("episodes_per_cycle", 0),
        ("replay_capacity", 0),
        ("evaluation_interval", 0),
        ("evaluation_episodes", 0),
        ("evaluation_episodes", 1_000_001),
        ("verdict_episodes", 1_000_001),
        ("steps", "many"),
    ],
)
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(ResidualRLError) as error:
        made(**{field: value})
    assert field in str(error.value)
    assert repr(value) in str(error.value)
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("algorithm", "critic_rate"), 0.0),
        (("algorithm", "composition", "scale"), -1.0),
        (("algorithm", "burn_in", "cycles"), -1),
        (("hindsight", "relabel_ratio"), 1.5),
    ],
)
def test_a_value_out_of_range_is_named_however_deep_it_lies(path, value):
    values = to_json(made())
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ResidualRLError) as error:
        from_json(values)
    assert path[-1] in str(error.value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("path", [(), ("algorithm",), ("algorithm", "composition"), ("algorithm", "burn_in"), ("hindsight",)])
def test_an_unknown_key_is_refused_however_deep_it_lies(path):
    """A misspelt hyperparameter must not be a run with the default."""
    values = to_json(made())
    inner = values
    for key in path:
        inner = inner[key]
    inner["lerning_rate"] = 1.0
    with pytest.raises(ResidualRLError, match="lerning_rate"):
        from_json(values)


def test_an_unknown_field_is_refused():
    with pytest.raises(ResidualRLError, match="stepps"):
        made(stepps=5)


@pytest.mark.parametrize("key", ["task", "controller"])
def test_a_missing_key_is_named(key):
    values = to_json(made())
    del values[key]
    with pytest.raises(ResidualRLError, match=key):
        from_json(values)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        made().steps = 5


def test_a_variant_is_checked_too():
    config = replace(made(), steps=77)
    assert (config.steps, made().steps) == (77, configuration.Config.steps)
    with pytest.raises(ValueError, match="steps"):
        replace(made(), steps=0)


def test_equal_configurations_do_not_differ():
    assert differences(to_json(made()), to_json(made())) == []


def test_differences_are_lines_with_the_path_and_both_values():
    first, second = (
        made(steps=1000),
        made(steps=2000, hindsight={"relabel_ratio": 0.5, "keep_achieved_ratio": 0.25}),
    )
    assert differences(to_json(first), to_json(second)) == ["hindsight.relabel_ratio: 0.8 -> 0.5", "steps: 1000 -> 2000"]


def test_a_key_that_only_one_side_has_is_a_difference():
    assert differences({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}) == ["a: 1 -> None", "b.c: 2 -> None", "b.d: None -> 3"]
    assert differences({"a": {"b": 1}}, {"a": 2}) == ["a: {'b': 1} -> 2"]


def test_a_field_of_a_part_is_changed_by_its_path_and_nothing_else():
    changed = made(**{"algorithm.actors.1.cautions": [6.0], "hindsight.relabel_ratio": 0.5, "algorithm.hidden": [7, 9]})
    plain = made()
    first, second = plain.algorithm.actors
    actors = (first, dataclasses.replace(second, cautions=(6.0,)))
    algorithm = dataclasses.replace(plain.algorithm, actors=actors, hidden=(7, 9))
    assert changed == replace(plain, algorithm=algorithm, hindsight=dataclasses.replace(plain.hindsight, relabel_ratio=0.5))


@pytest.mark.parametrize(
    "path",
    [
        "algorithm.cautoin",
        "seed.x",
        "algorithm.burn_in.cycles.x",
        "algorithm.actors.2.rate",
        "algorithm.actors.x",
        "nothing.x",
        "algorithm.",
    ],
)
def test_a_path_that_leads_nowhere_is_told_what_exists(path):
    with pytest.raises(UnknownName, match=r"algorithm\.burn_in\.cycles"):
        made(**{path: 1})


def test_a_value_out_of_range_is_named_by_its_path():
    with pytest.raises(ResidualRLError, match=r"cautions.*: .* got -1"):
        made(**{"algorithm.actors.0.cautions": [3.0, -1]})
