"""Plays the actions of the golden rollout of MBRLPusher in Gymnasium's model, with the last MuJoCo before 3.

    python -m venv old && old/bin/pip install mujoco==2.3.7
    old/bin/python tests/golden/make_pusher_mujoco_2.py .../gymnasium/envs/mujoco/assets/pusher.xml

What that simulator does with a cylinder that weighs next to nothing is what the published code saw; newer ones need help.
"""

import sys
from pathlib import Path

import mujoco
import numpy as np

HERE = Path(__file__).parent
FILE = HERE / "mbrl-pusher-mujoco-2.npz"
LINKS = 7
OBJECT_ORIGIN = (0.45, -0.05)  # m


def play(model, start, actions):
    """The observation of each step: `[20], [T, 7] -> [T + 1, 20]`. The solver starts cold, as ours does."""
    data = mujoco.MjData(model)
    data.qpos[:LINKS], data.qvel[:LINKS] = start[:7], start[7:14]
    data.qpos[LINKS : LINKS + 2] = (start[17:19] - OBJECT_ORIGIN)[::-1]  # the slide along y comes first
    shown = []
    for action in (*actions, np.zeros(LINKS)):
        # Positions of bodies are those of the last substep's beginning, unless asked for anew.
        mujoco.mj_kinematics(model, data)
        places = [data.body(name).xpos for name in ("tips_arm", "object")]
        shown.append(np.concatenate([data.qpos[:LINKS], data.qvel[:LINKS], *places]))
        data.ctrl[:] = action
        for _ in range(4):
            data.qacc_warmstart[:] = 0.0
            mujoco.mj_step(model, data)
    return np.array(shown)


if __name__ == "__main__":
    assert mujoco.__version__.startswith("2."), mujoco.__version__
    model = mujoco.MjModel.from_xml_path(sys.argv[1])
    model.jnt_range[0] = (-2.2854, 2.0)  # Gymnasium's shoulder stops at 1.7146 rad
    with np.load(HERE / "mbrl-pusher.npz", allow_pickle=False) as golden:
        lanes = range(golden["action"].shape[1])
        shown = [play(model, golden["observation"][0, lane], golden["action"][:, lane]) for lane in lanes]
    np.savez_compressed(FILE, observation=np.stack(shown, axis=1))
    print(f"wrote {FILE}")
