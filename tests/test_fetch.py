"""Push, SlipperyPush and PickAndPlace are Gymnasium-Robotics' own, stepped in batches and without needless contacts."""

import warnings
from dataclasses import replace
from itertools import product

import mujoco
import numpy as np
import pytest
from scipy.stats import kstest

from residual_rl.controllers import ReactivePickAndPlace, ReactivePush
from residual_rl.tasks import fetch, rules
from residual_rl.tasks.block import BlockWorld, block_model
from residual_rl.tasks.fetch import SUBSTEPS, State
from residual_rl.tasks.variants import PICK_AND_PLACE, PUSH, SLIPPERY_PUSH

SCENES = {"push": PUSH, "slippery-push": SLIPPERY_PUSH, "pick-and-place": PICK_AND_PLACE}
CONTROLLERS = {"push": ReactivePush(), "slippery-push": ReactivePush(), "pick-and-place": ReactivePickAndPlace()}
FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS
LAYOUT = {
    "gripper position": slice(0, 3),
    "object position": slice(3, 6),
    "object minus gripper": slice(6, 9),
    "finger positions": slice(9, 11),
    "object rotation": slice(11, 14),
    "object velocity minus the gripper's": slice(14, 17),
    "object angular velocity": slice(17, 20),
    "gripper velocity": slice(20, 23),
    "finger velocities": slice(23, 25),
}


@pytest.fixture(scope="module")
def worlds():
    made = {name: BlockWorld(scene, 2) for name, scene in SCENES.items()}
    yield made
    for world in made.values():
        world.close()


@pytest.fixture(scope="module", params=SCENES)
def name(request):
    return request.param


@pytest.fixture
def world(worlds, name):
    return worlds[name]


@pytest.fixture(scope="module", autouse=True)
def joints_of_theirs_are_found():
    """Gymnasium-Robotics 1.4.2 looks for joint types in tuples of enumeration members, where MuJoCo finds none since 3.12."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gymnasium_robotics.utils import mujoco_utils

        for field in ("qpos", "qvel"):
            patch.setattr(
                mujoco_utils, f"get_joint_{field}", lambda _, data, name, field=field: _joint(data, name, field).copy()
            )
            patch.setattr(
                mujoco_utils, f"set_joint_{field}", lambda _, data, name, value, field=field: _put(data, name, field, value)
            )
        yield


def _joint(data, name, field):
    return getattr(data.joint(name), field)


def _put(data, name, field, value):
    _joint(data, name, field)[:] = value


def theirs(scene):
    """Gymnasium-Robotics' own environment, its friction changed as the published code changed it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing it warns about environments that have nothing to do with this one
        import gymnasium
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
        name = "FetchPush-v4" if scene.gripper_blocked else "FetchPickAndPlace-v4"
        env = gymnasium.make(name, max_episode_steps=1000, disable_env_checker=True).unwrapped
        env.reset(seed=0)
    if scene.friction is not None:
        env.model.geom_friction[:] = scene.friction
    return env


def put(env, physics, goal):
    """Sets their simulator to one of our states."""
    mujoco.mj_setState(env.model, env.data, physics, FULL)
    env.data.qacc_warmstart[:] = 0.0
    env.goal = goal.copy()
    mujoco.mj_forward(env.model, env.data)


def generators(seeds):
    return [np.random.default_rng(seed) for seed in seeds]


# --- the same world as Gymnasium-Robotics' ---


def largest_differences(world, name, seed, actions, *, cold):
    """Largest difference in any entry of the observation, step by step, from the same state and with the same actions."""
    env = theirs(SCENES[name])
    state, goal = world.reset(generators([seed]))
    put(env, state.physics[0], goal[0])
    base, rng = CONTROLLERS[name], np.random.default_rng(seed)
    differences = []
    for _ in range(rules.BLOCK.horizon):
        ours = world.observe(state, goal)
        action = base(ours) if actions == "controller" else 0.7 * rng.uniform(-1.0, 1.0, (1, 4))
        if cold:
            env.data.qacc_warmstart[:] = 0.0
        shown, reward, _, _, info = env.step(action[0])
        state = world.step(state, action.clip(-1.0, 1.0))
        ours = world.observe(state, goal)
        differences.append(max(np.abs(ours[key][0] - shown[key]).max() for key in shown))
        assert reward == rules.reward(ours["achieved_goal"], goal)[0]
        assert bool(info["is_success"]) == rules.success(ours["achieved_goal"], goal)[0]
    env.close()
    return np.array(differences)


@pytest.mark.parametrize(("actions", "seed"), [("controller", 1), ("controller", 2), ("random", 3), ("random", 4)])
def test_trajectories_are_gymnasium_robotics_own_when_its_solver_starts_cold_too(world, name, actions, seed):
    # The only intended difference is where MuJoCo's iterative solver starts: theirs from the last step's solution, ours
    # from nothing, so that an episode does not depend on its lane's past. Made to start alike, all 50 steps agree up to
    # rounding (measured: 1e-13), amplified where the block bounces; robot self-contacts and sensors change nothing.
    assert largest_differences(world, name, seed, actions, cold=True).max() < 1e-9


@pytest.mark.parametrize(("actions", "seed"), [("controller", 1), ("random", 3)])
def test_the_solvers_start_moves_trajectories_by_less_than_a_tenth_of_a_millimetre(world, name, actions, seed):
    # As it comes, warm start and all. The solver stops at a tolerance, so its start leaves a trace: 1e-13 to 3e-6 measured
    # in the first 20 steps. Later on contacts may amplify it without bound, so there is no claim about that.
    assert largest_differences(world, name, seed, actions, cold=False)[:20].max() < 1e-4


@pytest.mark.parametrize(
    "name",
    SCENES,
)
def test_episodes_start_where_gymnasium_robotics_episodes_start_but_for_the_block(worlds, name):
    world, env = worlds[name], theirs(SCENES[name])
    state, goal = world.reset(generators([0]))
    expected = np.empty(state.physics.shape[1])
    env.reset(seed=1)
    mujoco.mj_getState(env.model, env.data, expected, FULL)
    block = 1 + env.model.joint("object0:joint").qposadr[0]
    compared = np.ones(len(expected), dtype=bool)
    compared[[0, block, block + 1]] = False  # the clock, and the block's x and y
    # The same library settles the same model: rounding alone, with a margin for another build of it.
    np.testing.assert_allclose(state.physics[0, compared], expected[compared], rtol=0, atol=1e-9)
    # Their goal height is read one substep of 2 ms before the block stands still.
    assert goal[0, 2] == pytest.approx(env.height_offset, abs=1e-4)
    env.close()


@pytest.mark.parametrize("seed", range(3))
def test_each_entry_of_the_observation_is_gymnasium_robotics_own(world, name, seed):
    # At states that no episode reaches, so that no entry is zero and no two are equal: turned block, open fingers, all moving.
    rng = np.random.default_rng(seed)
    model = world.arm.physics.model
    state, goal = world.reset(generators([seed]))
    physics = state.physics.copy()
    position = physics[0, 1 : 1 + model.nq]
    mujoco.mj_integratePos(model, position, rng.normal(scale=0.3, size=model.nv), 1.0)
    physics[0, 1 : 1 + model.nq] = position
    physics[0, 1 + model.nq :] = rng.normal(size=model.nv)
    ours = world.observe(State(physics, world.arm.physics.sense(physics)), goal)
    env = theirs(SCENES[name])
    put(env, physics[0], goal[0])
    shown = env._get_obs()
    env.close()
    for entry, columns in LAYOUT.items():
        assert np.all(ours["observation"][0, columns] != 0.0), entry
        # Rounding: they read velocities through Jacobians and angles through a matrix, we through sensors and a quaternion.
        np.testing.assert_allclose(ours["observation"][0, columns], shown["observation"][columns], atol=1e-12, err_msg=entry)
    assert np.array_equal(ours["achieved_goal"][0], shown["achieved_goal"])
    assert np.array_equal(ours["desired_goal"][0], shown["desired_goal"])


# --- contacts within the robot ---


def pairs(model):
    """The pairs of bodies, by name, that can meet: in a model that lists them."""
    bodies = model.geom_bodyid[np.column_stack([model.pair_geom1, model.pair_geom2])]
    return {frozenset(model.body(body).name for body in pair) for pair in bodies}


def missed_contacts(scene, policy, seeds):
    """Where the hand was, in m from its start, at each substep of the unmodified model with a contact that ours lacks."""
    model = block_model(scene, all_contacts=True)
    listed = pairs(block_model(scene))
    data = mujoco.MjData(model)
    hand = model.body("robot0:gripper_link").id
    fingers = [model.joint(finger).qposadr[0] for finger in fetch.FINGERS]
    world = BlockWorld(scene, 1)
    states, goals = world.reset(generators(seeds))
    places = []
    for lane, physics in enumerate(states.physics):
        mujoco.mj_setState(model, data, physics, FULL)
        mujoco.mj_forward(model, data)
        start = data.xpos[hand].copy()
        for step in range(rules.BLOCK.horizon):
            state = np.empty((1, len(physics)))
            mujoco.mj_getState(model, data, state[0], FULL)
            observation = world.observe(State(state, world.arm.physics.sense(state)), goals[lane : lane + 1])
            action = np.clip(policy(observation, lane, step), -1.0, 1.0)
            data.mocap_pos[0] = data.xpos[hand] + fetch.MAX_DISPLACEMENT * action[:3]
            data.mocap_quat[0] = data.xquat[hand] + fetch.POINTING_DOWN
            data.ctrl[:] = data.qpos[model.jnt_qposadr[model.actuator_trnid[:, 0]]] + action[3]
            for _ in range(SUBSTEPS):
                mujoco.mj_step(model, data)
                meeting = model.geom_bodyid[data.contact.geom]
                if any(frozenset(model.body(body).name for body in pair) not in listed for pair in meeting):
                    places.append(data.xpos[hand] - start)
            if scene.gripper_blocked:
                data.qpos[fingers] = 0.0
            mujoco.mj_forward(model, data)
    world.close()
    return np.array(places).reshape(-1, 3)


def test_the_controller_never_makes_a_contact_that_the_model_leaves_out(name):
    base = CONTROLLERS[name]
    assert len(missed_contacts(SCENES[name], lambda observation, *_: base(observation)[0], range(20))) == 0


@pytest.mark.parametrize("kind", ["uniform", "bang-bang", "one-way"])
def test_contacts_that_the_model_leaves_out_occur_only_far_from_where_the_task_is(name, kind):
    # Pulled far back or aside the arm does meet the body, and there the model is wrong; but never within 25 cm of the start,
    # and block and goal start within 21 cm (15 cm per axis). In PickAndPlace goals hang higher, but so little is left out
    # that the hand must go 38 cm.
    reach = 0.25 if SCENES[name].gripper_blocked else 0.38
    rng = np.random.default_rng(0)
    held = {}
    directions = np.array(list(product([-1.0, 0.0, 1.0], repeat=3)))

    def policy(observation, lane, step):
        if kind == "uniform":
            return rng.uniform(-1.0, 1.0, 4)
        if kind == "one-way":
            return np.append(directions[lane], 0.0)
        if step % 5 == 0:
            held[lane] = rng.choice([-1.0, 1.0], 4)
        return held[lane]

    episodes = len(directions) if kind == "one-way" else 12  # dozens over the scenes
    places = missed_contacts(SCENES[name], policy, range(episodes))
    assert np.all(np.linalg.norm(places, axis=1) > reach)
    assert SCENES[name].gripper_blocked or not np.any((np.abs(places[:, :2]) < 0.15).all(axis=1) & (places[:, 2] < 0.45))
    if kind == "one-way":
        assert len(places)  # it does happen, so the claims above say something


@pytest.mark.parametrize("scene", [PUSH, PICK_AND_PLACE])
def test_all_that_moves_can_still_meet_all_that_is_not_robot(scene):
    full, lean = block_model(scene, all_contacts=True), block_model(scene)
    colliding = {full.body(full.geom_bodyid[geom]).name for geom in range(full.ngeom) if full.geom_contype[geom]}
    robot = {name for name in colliding if name.startswith("robot0:")}
    moving = robot - set(fetch.FIXED_LINKS)
    expected = {frozenset(pair) for pair in product(robot, {"object0"})}
    expected |= {frozenset(pair) for pair in product(moving, {"world", "table0"})}
    expected |= {frozenset({"object0", "world"}), frozenset({"object0", "table0"}), frozenset({fetch.BASE, "world"})}
    if not scene.gripper_blocked:
        expected |= {frozenset({fetch.UPPER_ARM, part}) for part in fetch.HEAD}
    assert pairs(lean) == expected


def test_listed_pairs_make_the_contacts_that_a_search_makes(world, name):
    # The same contacts, in the same order, with the same softness and friction: then the solver's rows are the same too.
    full, lean = block_model(SCENES[name], all_contacts=True), world.arm.physics.model
    state, goal = world.reset(generators([0, 1]))
    searched, listed = mujoco.MjData(full), mujoco.MjData(lean)
    met = 0
    for _ in range(25):
        state = world.step(state, CONTROLLERS[name](world.observe(state, goal)).clip(-1.0, 1.0))
        for physics in state.physics:
            for model, data in ((full, searched), (lean, listed)):
                mujoco.mj_setState(model, data, physics, FULL)
                mujoco.mj_forward(model, data)
            for field in ("dist", "pos", "frame", "friction", "solref", "solimp", "includemargin", "dim"):
                assert np.array_equal(getattr(searched.contact, field), getattr(listed.contact, field)), field
            met += len(listed.contact.dist)
    assert met > 7 * 25


# --- rules ---


@pytest.mark.parametrize(
    ("distance", "reward", "success"),
    [(0.0, 0.0, True), (0.0499, 0.0, True), (0.05, 0.0, False), (0.0501, -1.0, False), (1.0, -1.0, False)],
)
def test_reward_and_success_change_at_five_centimetres(distance, reward, success):
    # At exactly 5 cm Fetch gives the reward of the goal (not beyond) but no success (not within).
    achieved, desired = np.array([[distance, 0.0, 0.0]]), np.zeros((1, 3))
    assert rules.reward(achieved, desired) == [reward]
    assert rules.success(achieved, desired) == [success]


def test_reward_is_float32_and_success_is_bool_for_any_leading_axes():
    goals = np.random.default_rng(0).normal(scale=0.05, size=(4, 5, 3))
    reward, success = rules.reward(goals, np.zeros(3)), rules.success(goals, np.zeros(3))
    assert (reward.shape, reward.dtype) == ((4, 5), np.float32)
    assert (success.shape, success.dtype) == ((4, 5), bool)
    assert np.array_equal(reward == 0.0, success)
    assert rules.reward(goals[0, 0], np.zeros(3)) == reward[0, 0]


def test_distance_to_the_goal_counts_height():
    assert not rules.success(np.array([0.0, 0.0, 0.06]), np.zeros(3))


def test_starts_are_where_the_paper_says(world):
    state, goal = world.reset(generators(range(2000)))
    observation = world.observe(state, goal)
    gripper, block = observation["observation"][:, :3], observation["achieved_goal"]
    to_block, to_goal = (block - gripper)[:, :2], (goal - gripper)[:, :2]
    assert np.ptp(gripper, axis=0).max() == 0.0
    assert np.abs(to_block).max() <= 0.15 + 1e-12
    assert np.linalg.norm(to_block, axis=1).min() >= 0.1 - 1e-12
    assert np.abs(to_goal).max() <= 0.15
    # Goals lie on the table, at the height of the block's centre: 2.5 cm above the table's 40 cm. Of PickAndPlace's, half do.
    on_table = goal[:, 2] == block[:, 2]
    assert block[0, 2] == pytest.approx(0.425, abs=1e-3)
    if world.scene.gripper_blocked:
        assert on_table.all()
    else:
        assert on_table.mean() == pytest.approx(0.5, abs=0.05)
        assert kstest(goal[~on_table, 2] - block[0, 2], "uniform", (0.0, 0.45)).pvalue > 1e-3
    for axis in (0, 1):  # uniform, and goal independent of block
        assert kstest(to_goal[:, axis], "uniform", (-0.15, 0.3)).pvalue > 1e-3
        assert abs(to_block[:, axis].mean()) < 0.01
        assert abs(np.corrcoef(to_goal[:, axis], to_block[:, axis])[0, 1]) < 0.1
    assert 0.0 < rules.success(block, goal).mean() < 0.1  # a few episodes start solved


def test_block_stays_on_the_table_when_nothing_touches_it(world):
    state, goal = world.reset(generators([0]))
    lift = np.array([[0.0, 0.0, 1.0, 0.0]])
    before = world.observe(state, goal)
    for _ in range(10):
        state = world.step(state, lift)
    after = world.observe(state, goal)
    np.testing.assert_allclose(after["achieved_goal"], before["achieved_goal"], atol=1e-3)
    assert after["observation"][0, 2] > before["observation"][0, 2] + 0.2  # the gripper rose by 10 x 5 cm, less its lag


def test_slippery_push_changes_the_friction_of_every_geom_and_so_of_every_contact():
    stock, slippery = block_model(PUSH), block_model(SLIPPERY_PUSH)
    assert np.array_equal(slippery.geom_friction, np.tile([0.19, 0.005, 0.0001], (slippery.ngeom, 1)))
    for model, sliding in ((stock, 1.0), (slippery, 0.19)):
        data = mujoco.MjData(model)
        data.joint("object0:joint").qpos[:3] = (1.25, 0.53, 0.424)
        mujoco.mj_forward(model, data)
        block = model.geom("object0").id
        touching = (data.contact.geom == block).any(axis=1)
        assert touching.any()
        assert np.all(data.contact.friction[touching][:, 0] == sliding)


def test_friction_is_all_that_slippery_push_changes():
    stock, slippery = block_model(PUSH), block_model(SLIPPERY_PUSH)
    slippery.geom_friction[:] = stock.geom_friction
    for field in ("body_mass", "geom_size", "dof_damping", "geom_contype", "geom_conaffinity", "eq_data", "qpos0"):
        assert np.array_equal(getattr(stock, field), getattr(slippery, field)), field
    assert replace(SLIPPERY_PUSH, friction=None) == PUSH


@pytest.mark.parametrize("name", ["push", "slippery-push"])
def test_fingers_stay_closed_whatever_their_command(worlds, name):
    world = worlds[name]
    state, goal = world.reset(generators([3, 3, 3]))
    rng = np.random.default_rng(0)
    for _ in range(10):
        action = np.repeat(rng.uniform(-1.0, 1.0, (1, 4)), 3, axis=0)
        action[:, 3] = (-1.0, 0.0, 1.0)
        state = world.step(state, action)
        shown = world.observe(state, goal)["observation"]
        assert np.array_equal(shown[0], shown[1])
        assert np.array_equal(shown[0], shown[2])
        assert np.all(shown[:, LAYOUT["finger positions"]] == 0.0)


def test_fingers_of_pick_and_place_open_hold_and_close(worlds):
    world = worlds["pick-and-place"]
    state, goal = world.reset(generators([3]))
    opening = []
    for command in (1.0, 1.0, 1.0, 0.0, 0.0, -1.0, -1.0, -1.0):
        state = world.step(state, np.array([[0.0, 0.0, 0.0, command]]))
        opening.append(world.observe(state, goal)["observation"][0, LAYOUT["finger positions"]])
    opening = np.array(opening)
    assert opening[2] == pytest.approx([0.05, 0.05], abs=2e-3)
    assert opening[4] == pytest.approx(opening[2], abs=2e-3)
    assert opening[-1] == pytest.approx([0.0, 0.0], abs=5e-3)


def test_a_step_leaves_the_state_it_started_from_unchanged(world):
    state, goal = world.reset(generators([0, 1]))
    kept = State(*(array.copy() for array in state))
    world.step(state, np.ones((2, 4)))
    world.observe(state, goal)
    assert all(np.array_equal(array, before) for array, before in zip(state, kept, strict=True))


@pytest.mark.parametrize("gain", [1.0, 10.0])
def test_the_action_gain_multiplies_the_action_and_clips_it(worlds, gain):
    push, scaled = worlds["push"], BlockWorld(replace(PUSH, action_gain=gain), 2)
    state, _ = push.reset(generators(range(6)))
    action = np.random.default_rng(0).uniform(-0.2, 0.2, (6, 4))
    assert 0.2 < (np.abs(gain * action[:, :3]) > 1.0).mean() < 0.8 or gain == 1.0
    expected = push.step(state, (gain * action).clip(-1.0, 1.0))
    assert np.array_equal(scaled.step(state, action).physics, expected.physics)
    scaled.close()
