import os
import tempfile

import hypothesis
import pytest
from representatives import REPRESENTATIVES

LONGEST = ("study", "api", "rollout", "encoder", "custom", "runtime", "units", "fetch", "first_episodes", "controller_kinds")
"""Files by the seconds of computing time that they take, the longest first."""

# Compiling takes longer than any sensible deadline; the same examples every time, so that a red test stays red.
hypothesis.settings.register_profile("residual-rl", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("residual-rl")


def pytest_configure(config: pytest.Config) -> None:
    """Most of a test's time would go into compiling: it is done in haste, and once for all workers and processes they start.

    What is compiled is not kept for the next call: JAX would use it on another processor too, which may lack instructions.
    """
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        directory = tempfile.TemporaryDirectory(prefix="residual-rl-compiled-")
        config.add_cleanup(directory.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = directory.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that take longest first, so that no worker waits for another one at the end."""
    order = {f"test_{name}": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(params=REPRESENTATIVES.values(), ids=REPRESENTATIVES)
def task(request):
    return request.param


@pytest.fixture
def make_envs(task):
    made = []

    def make(*args, **kwargs):
        made.append(task.make_envs(*args, num_threads=kwargs.pop("num_threads", 2), **kwargs))
        return made[-1]

    yield make
    for envs in made:
        envs.close()
