"""Share bundles: `push` and `pull`, with the Hugging Face Hub or with a shared folder.

`pull` fetches two files of limited size and reads them as data; it does not run any code of the bundle.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock

from residual_rl.bundles import runtime
from residual_rl.bundles.bundle import ONNX, RUNTIME
from residual_rl.bundles.model_card import CARD, model_card
from residual_rl.errors import HubError, ResidualRLError
from residual_rl.optional import need
from residual_rl.storage import acquire, make_directory

FETCHED = {runtime.MANIFEST: runtime.MAX_MANIFEST, runtime.WEIGHTS: runtime.MAX_WEIGHTS}
"""The files that are fetched, and the maximum size of each in bytes."""
PUSHING = ".push."  # prefix of a push's lock, and of its folder while it is running
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push(bundle: str | Path, to: str | Path, *, public: bool = False) -> str:
    """Send an exported bundle, with a model card that describes it and its verdict.

    Args:
        bundle: the folder that `export` wrote.
        to: `owner/name` on the Hugging Face Hub, created if it is missing, with the token of `hf auth login`; or a folder: a
            `file:` URL, a `Path`, or a string that begins with `/`, `.` or `~`.
        public: whether a new repository is public.

    Returns:
        Its new place.

    Raises:
        HubError: the folder does not hold a valid bundle, or the bundle cannot be sent there.
        ResidualRLError: the `hub` extra is not installed.
    """
    remote = _remote(to, revision=None, public=public)
    with TemporaryDirectory() as directory:
        staged, bundle = Path(directory), Path(bundle)
        _Folder(bundle).fetch(staged)
        policy = _load_staged(staged, bundle)
        if (bundle / ONNX).is_file():
            shutil.copyfile(bundle / ONNX, staged / ONNX)
        shutil.copyfile(runtime.__file__, staged / RUNTIME)
        (staged / CARD).write_text(model_card(policy.manifest, str(to)), encoding="utf-8")
        return remote.send(staged)


def pull(source: str | Path, out: str | Path, *, revision: str | None = None) -> runtime.Policy:
    """Fetch a bundle into a folder, atomically.

    Only `bundle.json` and `weights.safetensors` are fetched, which are data; the `residual_policy.py` beside them is this
    library's own. Whether the policy is good on your robot is not checked: trust the source.

    Args:
        source: as `to` of `push`.
        out: the folder; must not be there yet, or be empty.
        revision: a commit, branch or tag of a repository on the Hub; None for its main branch.

    Returns:
        The policy, as returned by `residual_rl.bundles.runtime.load(out)`.

    Raises:
        HubError: there is no such bundle, it is too large or damaged, or `out` cannot be written.
        ResidualRLError: the `hub` extra is not installed.
    """
    remote, out = _remote(source, revision=revision), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HubError(f"{out} is there already, and not empty; choose another folder")
    with _naming(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    with partial as directory:
        staged = Path(directory) / "bundle"
        staged.mkdir()
        remote.fetch(staged)
        policy = _load_staged(staged, source)
        shutil.copyfile(runtime.__file__, staged / RUNTIME)
        with _naming(out):
            os.replace(staged, out)
    return policy


class _Remote(Protocol):
    """A place for bundles."""

    def fetch(self, into: Path) -> None:
        """Copy the files of `FETCHED`, none larger than its maximum."""
        ...

    def send(self, staged: Path) -> str:
        """Store all files of a folder, and return their place."""
        ...


class _Folder:
    def __init__(self, path: Path):
        self.path = path

    def fetch(self, into: Path) -> None:
        for name, most in FETCHED.items():
            with _naming(self.path):
                size = (self.path / name).stat().st_size if (self.path / name).is_file() else None
                _check_size(self.path, name, size, most)
                shutil.copyfile(self.path / name, into / name)

    def send(self, staged: Path) -> str:
        with _naming(self.path):
            if (
                self.path.exists()
                and any(not entry.name.startswith(PUSHING) for entry in self.path.iterdir())
                and not (self.path / runtime.MANIFEST).exists()
            ):
                raise HubError(f"{self.path} holds other things than a bundle; choose another folder")
            make_directory(self.path)
        lock = self.path / f"{PUSHING}lock"
        with acquire(FileLock(lock), self.path), _naming(self.path):
            try:
                self._take(staged)
            finally:
                lock.unlink(missing_ok=True)
        return str(self.path)

    def _take(self, staged: Path) -> None:
        for left in self.path.glob(f"{PUSHING}*"):  # by a push that was killed; the lock is a file and stays
            shutil.rmtree(left, ignore_errors=True)
        # Readable by others; the folder keeps its own mode. All are complete before the first is renamed, and links with their
        # names are replaced, not followed.
        names = sorted((file.name for file in staged.iterdir()), key=runtime.MANIFEST.__eq__)  # the manifest last
        with TemporaryDirectory(dir=self.path, prefix=PUSHING) as beside:
            for name in names:
                shutil.copyfile(staged / name, Path(beside) / name)
            for name in names:
                os.replace(Path(beside) / name, self.path / name)
        if ONNX not in names:  # of the earlier bundle
            (self.path / ONNX).unlink(missing_ok=True)


class _Repository:
    def __init__(self, name: str, revision: str | None, public: bool):
        self.name, self.revision, self.public = name, revision, public
        self.api: Any = _hub().HfApi()

    def fetch(self, into: Path) -> None:
        with _naming(self.name):
            info = self.api.model_info(self.name, revision=self.revision, files_metadata=True)
            sizes = {file.rfilename: file.size for file in info.siblings}
        for name, most in FETCHED.items():
            _check_size(self.name, name, sizes.get(name), most)
        for name in FETCHED:
            with _naming(self.name):  # of the commit whose sizes were checked
                path = self.api.hf_hub_download(self.name, name, revision=info.sha)
                shutil.copyfile(path, into / name)

    def send(self, staged: Path) -> str:
        with _naming(self.name):
            self.api.create_repo(self.name, private=not self.public, exist_ok=True)
            sent = self.api.upload_folder(
                repo_id=self.name, folder_path=staged, commit_message="Bundle of residual-rl", delete_patterns=[ONNX]
            )
        return str(sent.commit_url)


def _remote(place: str | Path, revision: str | None, public: bool = False) -> _Remote:
    """Return a folder or a repository.

    Raises:
        HubError: it is neither, or a revision was given for a folder.
    """
    text = str(place)
    if isinstance(place, Path) or text.startswith(("/", ".", "~", "file:")):
        if revision is not None:
            raise HubError(f"{place} is a folder, and has no revisions")
        with _naming(text):
            return _Folder(Path(url2pathname(urlsplit(text).path) if text.startswith("file:") else text).expanduser())
    if not REPOSITORY.fullmatch(text):
        raise HubError(
            f"{text!r} is neither a repository, owner/name, nor a folder: a folder begins with '/', '.', '~' or 'file:'"
        )
    return _Repository(text, revision, public)


def _check_size(place: str | Path, name: str, size: int | None, most: int) -> None:
    if size is None:
        raise HubError(f"{place} is no bundle: it has no {name}")
    if size > most:
        raise HubError(f"{place}: {name} has {size} bytes, more than the {most} that it may have")


def _load_staged(staged: Path, source: str | Path) -> runtime.Policy:
    try:
        return runtime.load(staged)
    except runtime.BundleError as error:
        raise HubError(str(error).replace(str(staged), str(source))) from error


@contextmanager
def _naming(place: str | Path) -> Iterator[None]:
    """Convert errors of the disk, the network or the Hub's client into one that names the place."""
    try:
        yield
    except ResidualRLError:
        raise
    except Exception as error:
        message = (str(error).strip().splitlines() or [""])[0]
        raise HubError(f"{place}: {type(error).__name__}: {message}") from error


def _hub() -> Any:
    return need("huggingface_hub", "hub", "push and pull")
