"""`gymnasium.make("metarl/...")`: the ids, Gymnasium's own checker, and another library's agent.

Run as a script, this file writes the list of the built-in families' names anew.
"""

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs import registration
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import metarl_envs.gymnasium_ids
from metarl import gymnasium_ids
from metarl.simulation.autoreset import AutoresetVectorEnv
from metarl.simulation.single_env import SingleTaskEnv
from metarl.tasks import names, register, registry
from metarl.tasks.registry import family_class

BUILT_IN = [name for name in names() if family_class(name).__module__.startswith("metarl_envs")]
# Advice that Gymnasium's own robots and Pendulum do not follow either, and that its own tests of
# them ignore: unbounded observations, actions in other units than [-1, 1].
ADVICE = (
    "observation space minimum value is -infinity",
    "observation space maximum value is infinity",
    "we recommend using a symmetric and normalized space",
)
LIST = Path(metarl_envs.gymnasium_ids.__file__)


def _list_anew() -> str:
    head, _, _ = LIST.read_text().partition("NAMES = (")
    return head + "NAMES = (\n" + "".join(f'    "{name}",\n' for name in BUILT_IN) + ")\n"


def _python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_the_list_of_names_is_that_of_the_registered_families():
    assert LIST.read_text() == _list_anew(), (
        "families were added or removed: `python tests/envs/test_gymnasium_ids.py` writes the list"
    )
    assert list(metarl_envs.gymnasium_ids.NAMES) == BUILT_IN


def test_importing_metarl_makes_the_ids_known_without_importing_torch(tmp_path: Path):
    code = (
        "import sys, metarl, gymnasium\n"
        "print(gymnasium.spec('metarl/HalfCheetahVel-v0').version)\n"
        "heavy = ('torch', 'mujoco', 'scipy', 'matplotlib', 'metarl.tasks', 'metarl_envs.point')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    assert _python(code, tmp_path).split("\n") == ["0", "[]"]


def test_an_id_with_its_module_needs_gymnasium_alone(tmp_path: Path):
    code = (
        "import gymnasium\n"
        "env = gymnasium.make('metarl:metarl/PointNavigation-v0', task={'goal': [0.3, 0.4]})\n"
        "print(env.reset(seed=0)[1]['task']['goal'].tolist())\n"
        "envs = gymnasium.make_vec('metarl:metarl/PointNavigation-v0', num_envs=4)\n"
        "print(envs.reset(seed=0)[0].shape)\n"
    )
    assert _python(code, tmp_path).split("\n") == ["[0.3, 0.4]", "(4, 2)"]


def test_a_registered_family_is_known_to_gymnasium(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_families", dict(registry._families))
    monkeypatch.setattr(registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", registration.registry)
    family = type("Third", (family_class("PointNavigation-v0"),), {"horizon": 2})
    register("ThirdParty-v3")(family)
    spec = gymnasium.spec("metarl/ThirdParty-v3")
    assert (spec.namespace, spec.name, spec.version) == ("metarl", "ThirdParty", 3)
    assert spec.max_episode_steps is None
    env = gymnasium.make("metarl/ThirdParty-v3")
    env.reset(seed=0)
    stay = np.zeros(2, dtype=np.float32)
    assert [env.step(stay)[3] for _ in range(2)] == [False, True]


class _Point:
    """What an entry point is to `add_listed`."""

    name = "somebody"

    def __init__(self, loaded: object):
        self.loaded = loaded

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


def test_a_broken_plugin_warns_and_does_not_take_the_others_down(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registration, "registry", {})
    monkeypatch.setattr(gymnasium, "registry", registration.registry)
    points = [_Point(ImportError("no such module")), _Point(("Good-v0", "Good-v1"))]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    with pytest.warns(UserWarning, match="ids of plugin 'somebody' are not known.*no such module"):
        gymnasium_ids.add_listed()
    assert list(gymnasium.registry) == ["metarl/Good-v0", "metarl/Good-v1"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_gymnasiums_checker_has_nothing_to_say(name: str):
    env = gymnasium.make(f"metarl/{name}")
    assert isinstance(env.unwrapped, SingleTaskEnv)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Pictures are looked at for one tensor world below, and by tests of their own.
        check_env(env.unwrapped, skip_render_check=True)
    said = [str(warning.message) for warning in caught]
    assert [text for text in said if not any(advice in text for advice in ADVICE)] == []
    env.close()


@pytest.mark.filterwarnings("ignore:.*observation space m.* value is -?infinity")
def test_gymnasiums_checker_likes_the_pictures():
    check_env(gymnasium.make("metarl/PointNavigation-v0", render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("name", BUILT_IN)
def test_episodes_end_at_the_horizon_at_the_latest(name: str):
    # Through Gymnasium's passive checker, whose warnings are errors here.
    env = gymnasium.make(f"metarl/{name}")
    env.action_space.seed(0)
    observation, info = env.reset(seed=0)
    steps, ended = 0, False
    while not ended:
        assert observation in env.observation_space
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert np.isfinite(float(reward))
        steps, ended = steps + 1, terminated or truncated
    horizon = env.get_wrapper_attr("family").horizon
    assert steps == horizon if truncated else steps <= horizon  # pyright: ignore[reportPossiblyUnboundVariable]
    assert set(info["task"]) == set(env.get_wrapper_attr("family").parameters)
    env.close()


def test_make_vec_gives_many_tasks_in_one_environment():
    tasks = [{"velocity": 0.5}, {"velocity": 1.5}]
    env = gymnasium.make_vec("metarl/HalfCheetahVel-v0", num_envs=8, tasks=tasks, episodes=4)
    assert isinstance(env, AutoresetVectorEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    assert info["task"]["velocity"].tolist() == [0.5] * 4 + [1.5] * 4
    env.action_space.seed(0)
    for _ in range(3):
        observation, reward, *_ = env.step(env.action_space.sample())
    assert observation in env.observation_space
    assert reward.shape == (8,)  # pyright: ignore[reportPossiblyUnboundVariable]
    assert env.spec is not None
    assert env.spec.id == "metarl/HalfCheetahVel-v0"


def test_gymnasiums_own_vectorization_takes_the_single_environment():
    env = gymnasium.make_vec(
        "metarl/PointNavigation-v0",
        num_envs=2,
        vectorization_mode="sync",
        task={"goal": [0.3, 0.4]},
    )
    assert isinstance(env, SyncVectorEnv)
    env.reset(seed=0)
    _, reward, *_ = env.step(np.zeros((2, 2), dtype=np.float32))
    assert reward == pytest.approx([-0.5, -0.5])


@pytest.mark.parametrize(
    ("name", "task"),
    [("PointNavigation-v0", {"goal": [0.3, -0.4]}), ("HalfCheetahVel-v0", {"velocity": 1.0})],
)
def test_an_agent_of_stable_baselines3_trains(name: str, task: dict[str, object]):
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    env = DummyVecEnv([lambda: gymnasium.make(f"metarl/{name}", task=task)] * 2)
    agent = PPO("MlpPolicy", env, n_steps=256, batch_size=128, n_epochs=2, seed=0, device="cpu")
    before = [parameter.detach().clone() for parameter in agent.policy.parameters()]
    agent.learn(2048)
    assert agent.num_timesteps == 2048
    assert any((a != b).any() for a, b in zip(before, agent.policy.parameters(), strict=True))


if __name__ == "__main__":
    LIST.write_text(_list_anew())
