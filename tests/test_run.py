"""The run directory: whole files or none, one writer, and nothing that is not plain data."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from residual_rl.controllers import TableController
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.learning.actors import Actor
from residual_rl.presets import make_config
from residual_rl.runs.reading import metric_columns, read_config, read_environment, read_policy, read_rows
from residual_rl.runs.run import Run
from residual_rl.storage import rounded, write_whole

CONFIG = make_config(task="push", controller="zero")


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    arrays = {"scalar": np.array(3), "empty": np.zeros((0, 2), np.float32), "matrix": np.arange(6.0).reshape(2, 3).T}
    with Run(tmp_path, CONFIG) as run:
        assert run.load_checkpoint() is None
        run.save_checkpoint(arrays, {"cycle": 7})
        loaded = run.load_checkpoint()
    assert loaded is not None
    assert loaded[1] == {"cycle": 7}
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[0][name], array)
        assert loaded[0][name].shape == array.shape


def test_the_configuration_says_what_made_the_run(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG):
        pass
    assert read_config(tmp_path) == CONFIG
    made_by = json.loads((tmp_path / "config.json").read_text())["made_by"]
    assert made_by["versions"]["mujoco"] == mujoco.__version__
    assert {"python", "commit", "machine", "started"} <= made_by.keys()


HOLD = """
import sys, time
from residual_rl.presets import make_config
from residual_rl.runs.run import Run
with Run(sys.argv[1], make_config(task="push", controller="zero")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="in use by another process"), Run(tmp_path, CONFIG):
            pass
        process.kill()
    with Run(tmp_path, CONFIG):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_what_was_saved_stays(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.save_checkpoint({"a": np.ones(3)}, {})
        before = (tmp_path / "checkpoint.safetensors").read_bytes()
        (tmp_path / "metrics.csv").symlink_to("/dev/full")
        with pytest.raises(RunError, match=r"cannot write to .*No space left"):
            run.append("metrics.csv", {"step": 1})
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"), Run(tmp_path / "file" / "run", CONFIG):
        pass


def test_no_partial_file_is_left_behind(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        for _ in range(3):
            run.save_checkpoint({"a": np.ones(3)}, {})
    assert {entry.name for entry in tmp_path.iterdir()} <= {".lock", "config.json", "checkpoint.safetensors"}


def test_a_directory_in_which_nothing_was_done_is_anybodys(tmp_path: Path) -> None:
    """A first call over a controller that raises leaves its configuration; the one that puts it right may differ."""
    with Run(tmp_path, CONFIG):
        pass
    other = replace(CONFIG, controller="mended")
    with Run(tmp_path, other):
        pass
    assert read_config(tmp_path) == other


def test_what_a_first_call_noted_of_another_environment_or_table_is_forgotten(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.save_environment({"task": "mine"})
        run.save_base(TableController(np.zeros((1, 2)), np.ones((1, 1))))
    with Run(tmp_path, CONFIG):
        pass
    assert read_environment(tmp_path) is None
    assert not (tmp_path / "base").exists()
    with Run(tmp_path, CONFIG) as run:
        run.save_environment({"task": "mine"})
        run.append("evaluations.csv", {"step": 0})
    with Run(tmp_path, CONFIG):
        assert read_environment(tmp_path) == {"task": "mine"}


@pytest.mark.parametrize("damage", [b"\n800\n", b"\0\0\n", b"\xff\xfe\n"])
def test_a_damaged_table_is_named(tmp_path: Path, damage: bytes) -> None:
    with Run(tmp_path, CONFIG) as run:
        (tmp_path / "metrics.csv").write_bytes(b"step,value\n" + damage)
        with pytest.raises(RunError, match=r"metrics\.csv is damaged"):
            run.forget_after(0, evaluated=0)


def test_what_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"step,value\n\xff\xfe\n")
    with pytest.raises(RunError, match=r"metrics\.csv is damaged"):
        read_rows(tmp_path / "metrics.csv")


def test_a_checkpoint_that_a_kill_left_beside_the_verdict_is_freed(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.append("evaluations.csv", {"step": 0})
        run.save_checkpoint({"a": np.ones(3)}, {})
        (tmp_path / "verdict.json").write_text("{}")
    with Run(tmp_path, CONFIG):
        assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_table_whose_last_line_was_cut_short_goes_on_whole(tmp_path: Path) -> None:
    """A full disk cuts anywhere: in the header, in a number."""
    with Run(tmp_path, CONFIG) as run:
        (tmp_path / "metrics.csv").write_text("step,wall_sec")
        run.forget_after(0, evaluated=0)
        run.append("metrics.csv", dict.fromkeys(metric_columns(CONFIG.algorithm), 800))
        assert [row["step"] for row in read_rows(tmp_path / "metrics.csv")] == [800]
    (tmp_path / "short.csv").write_text("step,value\n1,16\n2,1")
    assert read_rows(tmp_path / "short.csv") == [{"step": 1.0, "value": 16.0}]


def test_others_may_read_what_a_run_wrote(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.save_checkpoint({"numbers": np.zeros(3)}, {"step": 0})
    modes = {(tmp_path / name).stat().st_mode & 0o777 for name in ("config.json", "checkpoint.safetensors")}
    assert len(modes) == 1


def test_another_configuration_is_refused_line_by_line(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.append("evaluations.csv", {"step": 0})
    other = replace(CONFIG, seed=3, batch_size=64)
    with pytest.raises(RunError) as caught, Run(tmp_path, other):
        pass
    assert "batch_size: 256 -> 64" in str(caught.value)
    assert "seed: 0 -> 3" in str(caught.value)
    assert read_config(tmp_path) == CONFIG


def test_rows_beyond_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        for step in (400, 800, 1200):
            run.append("metrics.csv", dict.fromkeys(metric_columns(CONFIG.algorithm), step))
        with (tmp_path / "metrics.csv").open("a") as file:
            file.write("40")  # cut short by a kill: the next row must not grow onto it
        run.forget_after(800, evaluated=400)
        run.append("metrics.csv", dict.fromkeys(metric_columns(CONFIG.algorithm), 1200))
        assert [row["step"] for row in read_rows(tmp_path / "metrics.csv")] == [400, 800, 1200]


def test_a_row_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,critic_loss\n400,0.5\n80")
    assert read_rows(tmp_path / "metrics.csv") == [{"step": 400.0, "critic_loss": 0.5}]


def test_a_kill_at_the_very_first_file_blocks_nothing(tmp_path: Path) -> None:
    (tmp_path / ".config.json.1a2b.partial").write_text('{"conf')
    with Run(tmp_path, CONFIG):
        pass
    assert read_config(tmp_path) == CONFIG


def test_what_a_kill_left_of_a_checkpoint_is_gone_with_the_next_call(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.safetensors.1a2b.partial").write_bytes(b"half")
    with Run(tmp_path, CONFIG):
        pass
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix == ".partial"] == []


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """As two reports of one run, called at the same time."""
    path, texts = tmp_path / "page.html", ["a" * 100_000, "b" * 100_000]

    def inner(beside: Path) -> None:
        beside.write_text(texts[0])
        write_whole(path, lambda other: other.write_text(texts[1]))
        assert path.read_text() == texts[1]

    write_whole(path, inner)
    assert path.read_text() == texts[0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_with_one_altered_number_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.save_checkpoint({"replay/00": np.ones(1000)}, {})
        path = tmp_path / "checkpoint.safetensors"
        path.write_bytes(path.read_bytes()[:-8] + np.float64(2).tobytes())
        with pytest.raises(RunError, match="not what was saved"):
            run.load_checkpoint()


def damaged_checkpoint(path: Path, how: str) -> None:
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "other": b"\x80\x04pickle" * 20}[how])


@pytest.mark.parametrize("how", ["truncated", "empty", "other"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, how: str) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.save_checkpoint({"a": np.ones(1000)}, {})
        damaged_checkpoint(tmp_path / "checkpoint.safetensors", how)
        with pytest.raises(RunError, match=r"checkpoint\.safetensors is damaged"):
            run.load_checkpoint()


def test_a_policy_whose_values_were_altered_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.save_policy({"a": np.ones(4, np.float32)}, run.config.algorithm, 0)
    path = tmp_path / "policy.safetensors"
    assert read_policy(tmp_path)[2] == 0
    path.write_bytes(path.read_bytes()[:-4] + np.float32(2).tobytes())
    with pytest.raises(RunError, match="not what was saved"):
        read_policy(tmp_path)


def alter(path: Path, there: bytes, instead: bytes) -> None:
    whole = path.read_bytes()
    assert there in whole
    path.write_bytes(whole.replace(there, instead))


def test_a_policy_whose_configuration_was_altered_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.save_policy({"a": np.ones(4, np.float32)}, run.config.algorithm, 0)
    path = tmp_path / "policy.safetensors"
    alter(path, rb"\"cautions\": [3.0, 0.5]", rb"\"cautions\": [3.0, 0.0]")
    with pytest.raises(RunError, match="not what was saved"):
        read_policy(tmp_path)


def test_the_rule_by_which_a_policy_acts_is_kept_beside_that_of_its_run(tmp_path: Path) -> None:
    acting = replace(CONFIG.algorithm, actors=(Actor(cautions=(0.5,)),))
    with Run(tmp_path, CONFIG) as run:
        run.save_policy({"a": np.ones(4, np.float32)}, acting, 0)
    assert read_policy(tmp_path)[1] == replace(CONFIG, algorithm=acting)
    assert read_config(tmp_path) == CONFIG


@pytest.mark.parametrize("number", [0, 2, None])
def test_a_file_of_another_format_is_refused_by_name(tmp_path: Path, number: int | None) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.save_policy({"a": np.ones(4, np.float32)}, run.config.algorithm, 0)
        run.save_checkpoint({"a": np.ones(4)}, {"step": 5})
        run.save_environment({"task": "mine"})
        said, other = b'"format": 1', f'"format": {json.dumps(number)}'.encode()
        files = {
            "checkpoint.safetensors": run.load_checkpoint,
            "policy.safetensors": lambda: read_policy(tmp_path),
            "environment.json": lambda: read_environment(tmp_path),
            "config.json": lambda: read_config(tmp_path),
        }
        for name, read in files.items():
            read()
            path = tmp_path / name
            whole = path.read_bytes()
            place = (
                whole.replace(b'\\"format\\": 1', b'\\"format\\": 7')
                if name.endswith("tensors")
                else whole.replace(said, other)
            )
            assert place != whole
            path.write_bytes(place)
            with pytest.raises(RunError, match=rf"{name} has format (0|2|7|None), .* reads only format 1"):
                read()
            path.write_bytes(whole)


def test_a_checkpoint_whose_counters_were_altered_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path, CONFIG) as run:
        run.save_checkpoint({"a": np.ones(4)}, {"step": 5})
        alter(tmp_path / "checkpoint.safetensors", rb"\"step\": 5", rb"\"step\": 9")
        with pytest.raises(RunError, match="not what was saved"):
            run.load_checkpoint()


def test_another_runs_policy_is_refused(tmp_path: Path) -> None:
    for name, config in (("one", CONFIG), ("other", replace(CONFIG, seed=1))):
        with Run(tmp_path / name, config) as run:
            run.save_policy({"a": np.ones(4, np.float32)}, run.config.algorithm, 0)
    shutil.copy(tmp_path / "other" / "policy.safetensors", tmp_path / "one")
    with pytest.raises(RunError, match=r"another run than the config\.json beside it"):
        read_policy(tmp_path / "one")


def test_a_stranger_cannot_smuggle_anything_but_numbers(tmp_path: Path) -> None:
    # A thousand mutations of a policy file: each loads as what it was, or is refused by name. Nothing else happens.
    with Run(tmp_path / "run", CONFIG) as run:
        run.save_policy({"a": np.ones(8, np.float32)}, run.config.algorithm, 0)
    whole = (tmp_path / "run" / "policy.safetensors").read_bytes()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "run", copy)
    rng = np.random.default_rng(0)
    started = time.monotonic()
    refused = 0
    for _ in range(1000):
        mutated = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            mutated[place] = rng.integers(0, 256)
        (copy / "policy.safetensors").write_bytes(mutated)
        try:
            arrays, config, step = read_policy(copy)
        except ResidualRLError:
            refused += 1
        else:
            assert (config, step) == (CONFIG, 0)
            assert np.array_equal(arrays["a"], np.ones(8, np.float32))
    assert refused > 500
    assert time.monotonic() - started < 60


def test_a_tables_numbers_have_eight_digits_whatever_their_size() -> None:
    row = {"tiny": 1.23456789e-5, "large": 123456789.0, "step": 123456789, "name": "push"}
    assert rounded(row) == {"tiny": 1.2345679e-5, "large": 123456790.0, "step": 123456789, "name": "push"}
