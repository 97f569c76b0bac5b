"""The core without the extra `tasks`: it improves controllers on environments of the user's own beside no simulator at all."""

import subprocess
import sys
from pathlib import Path

BLOCKED = """
import importlib.abc, runpy, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"mujoco", "gymnasium_robotics"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {"mujoco", "gymnasium_robotics"} else find(name, *rest)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_a_controller_is_improved_with_no_simulator_and_a_tasks_name_says_what_to_install():
    # The same script runs in CI beside the built wheel, where MuJoCo is not installed at all.
    script = Path(__file__).parent / "core_alone.py"
    done = subprocess.run([sys.executable, "-W", "error", "-c", BLOCKED, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_the_command_line_lists_needs_no_simulator():
    code = (
        "import sys; sys.modules['mujoco'] = None; import residual_rl.cli.main as cli; cli.app(['list'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "slippery-push" in done.stdout
