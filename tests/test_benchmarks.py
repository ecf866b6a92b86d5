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


def test_json_of_the_continual_sweep_holds_every_figure(tmp_path: Path) -> None:
    preset = ROOT / "configs" / "continual" / "point_goals" / "l2.yaml"
    size = ["--iterations", "1", "--seeds", "1", "--sequential", "1", "--threads", "1"]
    options = ["--json", "--preset", str(preset), *size]
    done = run_benchmark(tmp_path, *options, script="benchmark_continual.py")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["learners"], found["sequential_measured"]) == (5, 1)
    keys = ("stacked_sweep_over_sequential", "without_start_up", "at_preset_length")
    assert all(found[key] > 0 for key in keys)
    seconds = found["seconds"]
    ratio = seconds["sequential"] / seconds["stacked"]
    assert found["stacked_sweep_over_sequential"] == pytest.approx(ratio, rel=0.01)
    assert all(0 < share < 1 for share in found["start_up_share"].values())
    assert "5 learners, stacked" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def continual(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("benchmark_continual")


def test_figures_of_the_continual_sweep_by_hand(continual: Any) -> None:
    sweep = continual.Sweep(Path("l2.yaml"), "l2", (0.1, 1.0), 2, 20, 2)
    singles = [continual.Process(20.0, 12.0), continual.Process(30.0, 18.0)]
    found = continual.figures(sweep, continual.Process(100.0, 80.0), singles, longer=4.0)
    # Two of four learners: 2 * 50 s one after the other, of which 2 * 30 s in iterations.
    assert found["seconds"] == {"stacked": 100.0, "sequential": 100.0}
    assert found["stacked_sweep_over_sequential"] == 1.0
    assert found["without_start_up"] == 0.75
    assert found["at_preset_length"] == round((40 + 4 * 60) / (20 + 4 * 80), 3)
    assert found["start_up_share"] == {"stacked": 0.2, "sequential": 0.4}
    assert found["seconds_of_one"] == [20.0, 30.0]


def test_single_learners_are_spread_over_strengths_around_the_stacked_one(
    continual: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[Any, ...]] = []

    def train(self: Any, strengths: Any, seeds: int, seed: int) -> Any:
        trained.append((tuple(strengths), seeds, seed))
        return continual.Process(1.0, 1.0)

    monkeypatch.setattr(continual.Sweep, "_train", train)
    sweep = continual.Sweep(Path("l2.yaml"), "l2", (0.1, 1.0, 10.0), 2, 20, 2)
    continual.measure(sweep, 3)
    whole = ((0.1, 1.0, 10.0), 2, 1)
    assert trained == [((0.1,), 1, 1), ((1.0,), 1, 2), whole, ((10.0,), 1, 3)]
    trained.clear()
    continual.measure(sweep, 1)
    assert trained == [((0.1,), 1, 1), whole]
    trained.clear()
    continual.measure(sweep, sweep.learners)
    alone = [strengths for strengths, seeds, _ in trained if seeds == 1]
    assert sorted(alone) == sorted(2 * [(0.1,), (1.0,), (10.0,)])
    assert len({seed for _, seeds, seed in trained if seeds == 1}) == 6


def test_a_preset_without_a_sweep_is_refused_in_one_line(tmp_path: Path) -> None:
    preset = ROOT / "configs" / "point_navigation" / "maml_trpo.yaml"
    done = run_benchmark(tmp_path, "--preset", str(preset), script="benchmark_continual.py")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is no continual preset: it has no section `sequence`" in done.stderr
