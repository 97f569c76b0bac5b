"""Show episodes in a window, at real speed."""

# pyright: reportAttributeAccessIssue=false
# MuJoCo's names come from compiled modules, which the type checker cannot see into.

import copy
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import mujoco

from residual_rl.pictures.rendering import Take, add_goal_and_trail, aim, pose, with_view_style
from residual_rl.pictures.video import Caption
from residual_rl.tasks.view import View

FONT, PLACE = mujoco.mjtFontScale.mjFONTSCALE_150, mujoco.mjtGridPos.mjGRID_BOTTOMLEFT
HOLD_SECONDS = 1.0  # pause at the end of an episode
# If MuJoCo cannot open its window, it ends the process. So another process tries first.
OPEN_ONE = """
import sys, glfw
if not glfw.init(): sys.exit("the display does not respond")
glfw.window_hint(glfw.VISIBLE, False)
if not glfw.create_window(64, 64, "", None, None): sys.exit("the display has no OpenGL")
"""


def reason_for_no_window() -> str:
    """Return why no window can be opened; empty if one can."""
    if sys.platform == "darwin":
        from mujoco import viewer

        needed = "on macOS a window needs MuJoCo's own launcher: mjpython -m residual_rl.cli.main watch ..."
        return "" if viewer._MJPYTHON is not None else needed
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    child = subprocess.run([sys.executable, "-W", "ignore", "-c", OPEN_ONE], capture_output=True, text=True, check=False)
    return "" if child.returncode == 0 else (child.stderr.strip().splitlines() or ["no window opens"])[-1]


def play(view: View, episodes: Iterable[tuple[Take, Sequence[Caption]]]) -> None:
    """Show one episode after another, until none is left or the window is closed.

    Args:
        view: the camera view of the task.
        episodes: each with a caption for each state.
    """
    from mujoco import viewer

    window, shown, lens = None, None, view
    try:
        for take, captions in episodes:
            if window is None or take.model is not shown:
                if window is not None:
                    lens = copy.copy(window.cam)  # keep the camera where the user moved it
                    window.close()
                shown, model = take.model, with_view_style(take.model, view)
                data = mujoco.MjData(model)
                window = viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False)
                aim(window.cam, lens)
            _play_one(window, view, take, captions)
            if not window.is_running():
                return
    finally:
        if window is not None:
            window.close()


def _play_one(window: Any, view: View, take: Take, captions: Sequence[Caption]) -> None:
    start, step, last = time.monotonic(), 0, len(captions) - 1
    while window.is_running():
        with window.lock():
            pose(window.m, window.d, take, step)
            window.user_scn.ngeom = 0
            add_goal_and_trail(window.user_scn, view, take, step)
        window.set_texts((FONT, PLACE, "\n".join(captions[step].left), "\n".join(captions[step].right)))
        window.sync()
        time.sleep(max(0.0, start + (step + 1) * take.step_seconds - time.monotonic()))
        if step == last:
            time.sleep(HOLD_SECONDS)
            return
        due = int((time.monotonic() - start) / take.step_seconds)
        step = min(max(due, step + 1), last)  # skip states if drawing is slow, to keep real speed
