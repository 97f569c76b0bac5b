"""Bundles pushed and pulled: what arrives is what was sent, and of a stranger's nothing but checked data."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bundles import SPEC, asked, made_bundle

import residual_rl
from residual_rl.bundles import runtime
from residual_rl.bundles.bundle import ONNX, RUNTIME
from residual_rl.bundles.model_card import CARD
from residual_rl.errors import HubError, ResidualRLError
from residual_rl.learning.actors import Actor
from residual_rl.learning.gated_ddpg import GatedDDPG


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "mine"
    made_bundle(out, GatedDDPG(hidden=(8,), num_critics=2, actors=(Actor(cautions=(0.2,)),)))
    return out


class FakeHub:
    """As much of `huggingface_hub.HfApi` as is used, with a folder for each repository."""

    def __init__(self, root: Path):
        self.root = root
        self.private: dict[str, bool] = {}
        self.asked_for: list[tuple[str, str]] = []

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.private.setdefault(repo_id, private)

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str, delete_patterns: list[str]) -> Any:
        for name in delete_patterns:
            (self.root / repo_id / name).unlink(missing_ok=True)
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"https://hub.invalid/{repo_id}/commit/abc")

    def model_info(self, repo_id: str, *, revision: str | None, files_metadata: bool) -> Any:
        if not (self.root / repo_id).is_dir():
            raise FileNotFoundError("404: no such repository\nand more that nobody reads")
        files = [SimpleNamespace(rfilename=file.name, size=file.stat().st_size) for file in (self.root / repo_id).iterdir()]
        return SimpleNamespace(siblings=files, sha=revision or "abc")

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str) -> str:
        self.asked_for.append((filename, revision))
        return str(self.root / repo_id / filename)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake, module = FakeHub(tmp_path / "hub"), ModuleType("huggingface_hub")
    module.HfApi = lambda: fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return fake


def places(tmp_path: Path) -> list[str | Path]:
    return ["someone/push", tmp_path / "shared" / "push", str(tmp_path / "text"), (tmp_path / "a b").as_uri()]


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("which", range(4))
def test_what_is_pulled_acts_as_what_was_pushed(which: int, exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    place = places(tmp_path)[which]
    residual_rl.push(exported, place)
    pulled = residual_rl.pull(place, tmp_path / "theirs")
    mine = runtime.load(exported)
    observation, base_action = asked(mine, SPEC, 50)
    for policy in (pulled, runtime.load(tmp_path / "theirs")):
        assert policy.scale == mine.scale
        np.testing.assert_array_equal(policy(observation, base_action), mine(observation, base_action))


@pytest.mark.parametrize("which", range(2))
def test_nothing_of_a_stranger_s_but_data_is_fetched(which: int, exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    place = places(tmp_path)[which]
    residual_rl.push(exported, place)
    theirs = hub.root / "someone" / "push" if which == 0 else Path(place)
    (theirs / RUNTIME).write_text("raise SystemExit('their code ran')")
    (theirs / "__init__.py").write_text("raise SystemExit('their code ran')")
    (theirs / ONNX).write_bytes(b"?")
    residual_rl.pull(place, tmp_path / "out")
    assert names(tmp_path / "out") == {runtime.MANIFEST, runtime.WEIGHTS, RUNTIME}
    assert (tmp_path / "out" / RUNTIME).read_bytes() == Path(runtime.__file__).read_bytes()


def test_the_files_are_those_of_the_commit_that_was_looked_at(exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    residual_rl.push(exported, "someone/push")
    residual_rl.pull("someone/push", tmp_path / "one")
    residual_rl.pull("someone/push", tmp_path / "two", revision="v1")
    both = (runtime.MANIFEST, runtime.WEIGHTS)
    assert hub.asked_for == [(name, revision) for revision in ("abc", "v1") for name in both]


@pytest.mark.parametrize("name", [runtime.MANIFEST, runtime.WEIGHTS])
@pytest.mark.parametrize("which", range(2))
def test_what_is_too_large_is_not_fetched(name: str, which: int, exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    place = places(tmp_path)[which]
    residual_rl.push(exported, place)
    theirs = hub.root / "someone" / "push" if which == 0 else Path(place)
    with (theirs / name).open("r+b") as file:
        file.truncate((1 << 28) + 1)  # without taking as much of the disk
    with pytest.raises(HubError, match=f"{name} has 268435457 bytes"):
        residual_rl.pull(place, tmp_path / "out")
    assert hub.asked_for == []
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundle_leaves_nothing_behind(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "damaged")
    with (tmp_path / "damaged" / runtime.WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    for attempt in (residual_rl.pull, residual_rl.push):
        with pytest.raises(HubError, match=f"{tmp_path / 'damaged'} is damaged or was altered"):
            attempt(tmp_path / "damaged", tmp_path / "out")
    assert names(tmp_path) == {"damaged"}


def test_a_repository_is_private_unless_said_otherwise(exported: Path, hub: FakeHub) -> None:
    where = residual_rl.push(exported, "someone/mine")
    assert where == "https://hub.invalid/someone/mine/commit/abc"
    residual_rl.push(exported, "someone/ours", public=True)
    assert hub.private == {"someone/mine": True, "someone/ours": False}


@pytest.mark.parametrize("which", range(2))
def test_a_newer_bundle_replaces_all_of_the_older(which: int, exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    with_graph, place = tmp_path / "with-graph", places(tmp_path)[which]
    shutil.copytree(exported, with_graph)
    (with_graph / ONNX).write_bytes(b"a graph")
    theirs = hub.root / "someone" / "push" if which == 0 else Path(place)
    residual_rl.push(with_graph, place)
    assert names(theirs) == {runtime.MANIFEST, runtime.WEIGHTS, RUNTIME, CARD, ONNX}
    residual_rl.push(exported, place)
    assert names(theirs) == {runtime.MANIFEST, runtime.WEIGHTS, RUNTIME, CARD}


@pytest.mark.parametrize("promoted", [True, False])
def test_the_card_says_what_the_verdict_was(promoted: bool, tmp_path: Path) -> None:
    made_bundle(tmp_path / "mine", GatedDDPG(hidden=(8,), num_critics=2), promoted=promoted)
    residual_rl.push(tmp_path / "mine", tmp_path / "shared")
    opening, header, card = (tmp_path / "shared" / CARD).read_text().split("---\n", 2)
    assert opening == ""
    assert json.loads(header)["library_name"] == "residual-rl"  # JSON is YAML
    assert "# A residual over `mine` for `push`" in card
    assert "| `mine` alone | 0.500 | 0.400 to 0.600 | -30 |" in card
    assert ("delivers the base** until" in card) != promoted
    assert f'residual_rl.pull("{tmp_path / "shared"}", "bundle")' in card


def test_names_do_not_break_out_of_the_card(tmp_path: Path) -> None:
    from residual_rl.bundles.model_card import model_card

    made_bundle(tmp_path / "mine", GatedDDPG(hidden=(8,), num_critics=2))
    manifest = dict(runtime.load(tmp_path / "mine").manifest)
    manifest["verdict"] = manifest["verdict"] | {"controller": "a`|\n# Free money"}
    assert "\n# Free money" not in model_card(manifest, "someone/push")
    manifest["verdict"] = {"promoted": True}
    with pytest.raises(HubError, match="verdict is damaged: task: Field required"):
        model_card(manifest, "someone/push")


def test_a_folder_of_other_things_is_left_alone(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(HubError, match="holds other things than a bundle"):
        residual_rl.push(exported, tmp_path)
    with pytest.raises(HubError, match="is there already, and not empty"):
        residual_rl.pull(exported, tmp_path)
    assert names(tmp_path) == {"thesis.tex"}


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("push", "'push' is neither a repository, owner/name, nor a folder"),
        ("https://example.com/a/b", "is neither a repository"),
        ("../nowhere", "nowhere is no bundle: it has no bundle.json"),
        ("someone/nothing", "someone/nothing: FileNotFoundError: 404: no such repository$"),
    ],
)
def test_what_cannot_be_pulled_is_named(source: str, complaint: str, hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=complaint):
        residual_rl.pull(source, tmp_path / "out")


def test_folders_have_no_revisions(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="is a folder, and has no revisions"):
        residual_rl.pull(exported, tmp_path / "out", revision="v1")


def test_without_the_extra_the_error_says_what_to_install(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ResidualRLError, match=r"pip install 'residual-rl\[hub\]'"):
        residual_rl.push(exported, "someone/push")
    residual_rl.push(exported, tmp_path / "shared")  # a folder needs nothing


def test_the_commands_do_the_same(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from residual_rl.cli.main import app

    app(["push", str(exported), str(tmp_path / "shared")], standalone_mode=False)
    app(["pull", str(tmp_path / "shared"), str(tmp_path / "out")], standalone_mode=False)
    assert "out: promoted" in capsys.readouterr().out
    assert runtime.load(tmp_path / "out").promoted


def test_a_push_to_a_folder_follows_no_link_and_is_whole_or_not_at_all(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, precious = tmp_path / "shared", tmp_path / "precious"
    residual_rl.push(exported, shared)
    precious.write_text("mine")
    (shared / ONNX).write_text("of an older bundle")
    (shared / "README.md").unlink()
    (shared / "README.md").symlink_to(precious)
    residual_rl.push(exported, shared)
    assert precious.read_text() == "mine"
    assert not (shared / ONNX).exists()
    (shared / ONNX).write_text("of an older bundle")
    assert not (shared / "README.md").is_symlink()
    before = {file.name: file.read_bytes() for file in shared.iterdir()}

    def full(source: Any, target: Path) -> None:
        if str(target).startswith(str(shared)) and target.name == "weights.safetensors":
            raise OSError("no space left on device")
        copyfile(source, target)

    copyfile = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(HubError, match="no space left"):
        residual_rl.push(exported, shared)
    assert {file.name: file.read_bytes() for file in shared.iterdir()} == before


def test_two_pushes_to_a_folder_do_not_mix(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is under way the other is refused, and what the one has brought stays."""
    shared, refused = tmp_path / "shared", []

    def copied(source: Any, target: Path) -> None:
        if str(target).startswith(str(shared)) and not refused:
            with pytest.raises(ResidualRLError, match="in use by another process"):
                residual_rl.push(exported, shared)
            refused.append(target)
        copyfile(source, target)

    copyfile = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", copied)
    residual_rl.push(exported, shared)
    assert len(refused) == 1
    runtime.load(shared)


def test_a_home_that_is_not_there_is_named() -> None:
    with pytest.raises(HubError, match="no-such-user"):
        residual_rl.pull("~no-such-user-here/x", "out")
