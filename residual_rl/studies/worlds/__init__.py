"""Environments for which the learner was not designed, each with a controller: `WORLDS` by name.

A trial whose task is one of them improves that controller.
"""

from functools import partial

from residual_rl.studies.worlds import (
    classical,
    fetch,
    gymnasium_control,
    locomotion,
    meta_world,
    panda,
    quadrotor,
    suite,
    tank,
    tutorial,
)
from residual_rl.studies.worlds.imperfections import Weak
from residual_rl.studies.worlds.world import StudyWorld, registered

BOX2D, META_WORLD, BASELINES = ("Box2D",), ("metaworld",), ("stable_baselines3",)

WORLDS = {
    "pendulum": StudyWorld(
        partial(registered, "Pendulum-v1"), lambda: gymnasium_control.swing_up, "energy shaping, held with too little damping"
    ),
    "ball-on-beam": StudyWorld(tutorial.ball_on_beam, tutorial.pid, "PID that does not know that the beam is tilted"),
    "heated-tank": StudyWorld(
        tank.heated_tank, tank.thermostat, "PID of simple-pid, tuned for the largest flow; the pipe delays", ("simple_pid",)
    ),
    "planar-quadrotor": StudyWorld(
        quadrotor.planar_quadrotor,
        quadrotor.regulator,
        "LQR of python-control that knows neither the delay nor 0.15 kg of load",
        ("control",),
    ),
    "mountain-car": StudyWorld(
        partial(registered, "MountainCarContinuous-v0"), lambda: classical.rock, "full force in the direction of motion"
    ),
    "reacher": StudyWorld(
        partial(registered, "Reacher-v5"), lambda: classical.reach, "transposed Jacobian, with too much damping", ("mujoco",)
    ),
    "inverted-double-pendulum": StudyWorld(
        partial(registered, "InvertedDoublePendulum-v5"),
        lambda: Weak(classical.balance, 0.6),
        "LQR at 0.6 of its gains",
        ("mujoco",),
    ),
    "cartpole-swing-up": StudyWorld(
        suite.cart_pole, lambda: suite.swing_up, "energy shaping that pumps too little", ("dm_control", "shimmy")
    ),
    "panda-push": StudyWorld(panda.panda_push, lambda: panda.push, "a script that pushes too slowly", ("panda_gym",)),
    "fetch-push": StudyWorld(partial(registered, "FetchPush-v4"), lambda: fetch.push, "a script that pushes too slowly"),
    "fetch-slide": StudyWorld(partial(registered, "FetchSlide-v4"), lambda: fetch.slide, "a script that guesses the speed"),
    "lunar-lander": StudyWorld(
        partial(registered, "LunarLanderContinuous-v3"),
        gymnasium_control.late_lander,
        "Gymnasium's heuristic, 8 steps late",
        BOX2D,
    ),
    **{
        f"metaworld-{task}{ending}": StudyWorld(
            partial(meta_world.MetaWorld, task, sparse),
            partial(meta_world.imperfect_policy, task),
            f"Meta-World's script, {imperfection.how}",
            META_WORLD,
            meta_world.HORIZON,
        )
        for sparse, ending in ((True, ""), (False, "-dense"))
        for task, imperfection in meta_world.IMPERFECTIONS.items()
    },
    "hopper": StudyWorld(
        partial(registered, "Hopper-v5"),
        partial(locomotion.load_half_trained, "Hopper-v5"),
        "PPO of Stable-Baselines3, stopped early",
        BASELINES,
    ),
    "bipedal-walker": StudyWorld(
        partial(registered, "BipedalWalker-v3"), gymnasium_control.walker, "Gymnasium's heuristic, as it is", BOX2D
    ),
}
"""In the order of the cost of a run."""
