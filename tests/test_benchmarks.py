"""The benchmark scripts run, print their figures, and compare like with like."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metarl.config import load_config
from metarl.simulation import MujocoFamily, TensorFamily
from metarl.tasks.registry import family_class, names

ROOT = Path(__file__).parents[1]
KEYS = [
    "closed_loop_over_engine",
    "over_gymnasium_sync",
    "over_gymnasium_async",
    "over_envpool",
    "meta_iteration_over_physics",
    "peak_memory_gib",
    "redraw_over_rollout",
]
GROUPS = ["robots", "robots_that_fall", "worlds"]


def run_benchmark(
    folder: Path, *options: str, script: str = "benchmark_sampling.py"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / script), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_json_holds_every_figure(tmp_path: Path) -> None:
    table = tmp_path / "raw.csv"
    done = run_benchmark(tmp_path, "--quick", "--json", "--repetitions", "2", "--csv", str(table))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == KEYS + GROUPS
    tensor = [n for n in names() if issubclass(family_class(n), TensorFamily)]
    assert sorted(figures["worlds"]) == tensor
    robots = {family_class(n).robot for n in names() if issubclass(family_class(n), MujocoFamily)}
    assert {family_class(name).robot for name in figures["robots"]} == robots
    assert all(ratio > 0 for group in GROUPS for ratio in figures[group].values())
    measured = {key for key in KEYS if figures[key] is not None}
    assert measured >= set(KEYS) - {"over_envpool"}
    assert all(figures[key] > 0 for key in measured)
    assert "repetition 2 of 2" in done.stderr
    # and two comparisons with the engine as it comes, which only the table has
    rows = len(measured) + 2 + sum(len(figures[group]) for group in GROUPS)
    assert len(table.read_text(encoding="utf-8").splitlines()) == 1 + 2 * rows


def test_json_of_the_learners_holds_every_figure(tmp_path: Path) -> None:
    names = ["maml_trpo", "ppo_from_scratch", "reptile_ppo"]
    options = ["--quick", "--json", "--repetitions", "2", "--learners", *names]
    done = run_benchmark(tmp_path, *options, script="benchmark_learners.py")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    families = ["HalfCheetahVel-v0", "PointNavigation-v0"]
    groups = {
        "stacked_ppo_over_loop": families,
        "stacked_ppo_update_over_loop": families,
        "meta_iteration_over_physics": names,
    }
    assert list(figures) == [*groups, "ranges"]
    for group, members in groups.items():
        assert list(figures[group]) == members
        for name, ratio in figures[group].items():
            low, high = figures["ranges"][f"{group}/{name}"]
            assert 0 < low <= ratio <= high


def test_an_unknown_learner_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run_benchmark(tmp_path, "--learners", "reptile", script="benchmark_learners.py")
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown learner 'reptile'; ")
    assert "reptile_ppo" in done.stderr
    assert done.stderr.count("\n") == 1


def test_impossible_repetitions_are_refused(tmp_path: Path) -> None:
    done = run_benchmark(tmp_path, "--repetitions", "0")
    assert done.returncode == 2
    assert "invalid positive integer value: '0'" in done.stderr


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("benchmark_tools")


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("bare_engine", "half_cheetah_vel"),
        ("StockEngine", "half_cheetah_vel"),
        ("bare_engine", "hopper_rand_params"),  # episodes that end, bodies that differ
    ],
)
def test_the_engine_repeats_the_closed_loops_motion(tools: Any, kind: str, folder: str) -> None:
    preset = ROOT / "configs" / folder / "maml_trpo.yaml"
    size = {"tasks.tasks_per_iteration": 3, "tasks.episodes_per_task": 2, "run.threads": 4}
    experiment, sampler = tools.make_experiment(load_config(preset, size), horizon=40)
    closed_loop = tools.ClosedLoop(experiment, sampler)
    episodes = tools.record_episodes(sampler, closed_loop.rate)
    engine = getattr(tools, kind)(experiment.family, 6, 2)
    assert engine.rate(episodes) > 0
    for _ in range(2):
        seen = np.concatenate([env.engine.batch.qpos for env in sampler.envs])
        np.testing.assert_array_equal(engine.batch.qpos, seen)
        closed_loop.rate()
    weights = closed_loop.parameters["weight0"].flatten(1)
    assert len(np.unique(weights.numpy(), axis=0)) == 3, "every task has a policy of its own"


def test_stacked_and_separate_learners_do_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    learners = importlib.import_module("benchmark_learners")
    size = {"tasks": 3, "episodes": 2, "horizon": 5}
    iteration, update = learners.stacked_pairs("HalfCheetahVel-v0", size, 1)
    for pair in (iteration, update):
        for measured in (pair.ours, pair.other):
            assert measured() > 0
            assert measured.__self__._environment_steps == 3 * 2 * 5
    one, many = iteration.ours.__self__, iteration.other.__self__
    assert [len(part) for part in one._tasks] == [3]
    assert [len(part) for part in many._tasks] == [1, 1, 1]
    together = np.concatenate([part["velocity"].numpy() for part in many._tasks])
    np.testing.assert_array_equal(together, one._tasks[0]["velocity"].numpy())
