"""Suites: the runs they mean, and one line for each mistake."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from metarl.benchmark.suite import load_suite, plan, root_of
from metarl.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PRESET = """\
tasks: {family: PointNavigation-v0}
algorithm: {name: maml_trpo}
policy: {hidden_sizes: [8]}
run: {iterations: 2}
"""
SUITE = {"name": "tiny", "seeds": [1, 2], "families": ["world", "moon"], "learners": ["maml"]}


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    for name in ("world/maml", "world/promp", "moon/maml"):
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PRESET)
    (folder / "benchmark").mkdir()
    return folder


def write(configs: Path, /, **changes: Any) -> Path:
    path = configs / "benchmark" / "tiny.yaml"
    content = {key: value for key, value in {**SUITE, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_the_matrix_comes_first_and_all_presets_of_a_seed_before_the_next(configs: Path) -> None:
    path = write(configs, presets=["world/promp"])
    jobs = plan(path, Path("out"))
    assert [str(job.run.path) for job in jobs] == [
        f"out/{preset}/seed{seed}"
        for seed in (1, 2)
        for preset in ("world/maml", "moon/maml", "world/promp")
    ]
    assert [job.config.run.seed for job in jobs] == [1, 1, 1, 2, 2, 2]


def test_presets_alone_make_a_suite(configs: Path) -> None:
    path = write(configs, families=None, learners=None, presets=["moon/maml"], seeds=[7])
    assert [job.preset for job in plan(path, Path("out"))] == ["moon/maml"]


def test_overrides_of_a_pattern_win_over_those_of_all_and_later_ones_over_earlier(
    configs: Path,
) -> None:
    path = write(
        configs,
        overrides={"run.environment_steps": 100, "policy.hidden_sizes": [4, 4]},
        overrides_for={
            "*/maml": {"run.environment_steps": 200},
            "moon/*": {"run.environment_steps": 300, "run.threads": None},
        },
    )
    world, moon, *_ = plan(path, Path("out"))
    assert (world.config.run.environment_steps, moon.config.run.environment_steps) == (200, 300)
    assert world.config.policy.hidden_sizes == moon.config.policy.hidden_sizes == (4, 4)
    typed, *_ = plan(path, Path("out"), {"run.environment_steps": 5})
    assert typed.config.run.environment_steps == 5


def test_other_problems_may_be_evaluated_otherwise(configs: Path) -> None:
    moon = {"tasks.family": "HalfCheetahVel-v0", "evaluation.tasks": 3, "tasks.horizon": 7}
    path = write(configs, overrides_for={"moon/*": moon})
    assert plan(path, Path("out"))[1].config.evaluation.tasks == 3


def test_the_folder_of_presets_is_seen_from_the_suite(configs: Path, tmp_path: Path) -> None:
    path = write(configs, configs="../configs")
    moved = path.rename(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match="there is no preset 'world/maml'"):
        plan(moved, Path("out"))
    moved.write_text(moved.read_text().replace("../configs", "configs"))
    assert len(plan(moved, Path("out"))) == 4


def test_runs_go_to_the_suites_name_by_default(configs: Path) -> None:
    assert root_of(write(configs)) == Path("runs/tiny")
    assert root_of(write(configs), "out") == Path("out")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": [1]}, "seed is not a known key; did you mean 'seeds'?"),
        ({"seeds": None}, "seeds is required and not there"),
        ({"seeds": []}, "seeds must hold at least one seed"),
        ({"seeds": [1, 2, 1]}, "seeds holds 1 twice; keep one"),
        ({"seeds": [-1]}, "seeds[0] must be at least 0, got -1"),
        ({"seeds": ["one"]}, "seeds[0] must be an integer, got 'one'"),
        ({"name": "a/b"}, "name must be of letters"),
        ({"learners": []}, "learners must not be empty: each of families"),
        ({"families": []}, "families must not be empty: each of learners"),
        ({"families": [], "learners": []}, "presets must not be empty"),
        ({"families": ["world", "world"]}, "families holds 'world' twice"),
        ({"presets": ["moon/maml"]}, "presets holds 'moon/maml' twice"),
        ({"learners": ["mamel"]}, "there is no preset 'world/mamel'"),
        ({"learners": ["mamel"]}, "did you mean 'world/maml'"),
        ({"learners": ["maml", "promp"]}, "there is no preset 'moon/promp'"),
        ({"overrides": {"run": {"iterations": 3}}}, "overrides.run must be a dotted key"),
        ({"overrides": {"run.seed": 3}}, "overrides.run.seed differs from run to run"),
        ({"overrides": [1]}, "overrides must be a mapping"),
        (
            {"overrides": {"run.iteratons": 3}},
            "overrides of world/maml: run.iteratons is not a known key; did you mean 'iterations'",
        ),
        (
            {"overrides_for": {"moon/*": {"run.iterations": 0}}},
            "overrides of moon/maml: run.iterations must be at least 1, got 0",
        ),
        ({"overrides_for": {"moon/*": 3}}, "overrides_for.moon/* must be a mapping"),
        (
            {"overrides_for": {"*/mamel": {"run.iterations": 3}}},
            "overrides_for.*/mamel matches no preset here; did you mean",
        ),
        (
            {"overrides_for": {"moon/*": {"evaluation.split": "validation"}}},
            "evaluation.split is validation in moon/maml, test in world/maml, which cannot",
        ),
        (
            {"overrides_for": {"moon/*": {"evaluation.episodes": 2}}},
            "evaluation.episodes is 2 in moon/maml, 20 in world/maml, which cannot be compared",
        ),
        (
            {"overrides_for": {"moon/*": {"tasks.horizon": 7}}},
            "tasks.horizon is 7 in moon/maml, None in world/maml, which cannot be compared",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(
    configs: Path, changes: dict[str, Any], expected: str
) -> None:
    path = write(configs, **changes)
    with pytest.raises(UserError) as error:
        plan(path, Path("out"))
    assert expected in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "the content must be a mapping"), ("name: x\nname: y\n", "the key 'name' stands here")],
)
def test_a_file_that_is_no_suite_is_refused(configs: Path, text: str, expected: str) -> None:
    path = write(configs)
    path.write_text(text)
    with pytest.raises(UserError, match=expected):
        plan(path, Path("out"))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"run.iteratons": 3}, "command line: run.iteratons is not a known key"),
        ({"run.seed": 3}, "command line: run.seed differs from run to run"),
        ({"run.output": "x"}, "command line: run.output differs from run to run; give --output"),
    ],
)
def test_mistakes_of_the_command_line_are_told_to_be_there(
    configs: Path, overrides: dict[str, object], expected: str
) -> None:
    with pytest.raises(UserError) as error:
        plan(write(configs), Path("out"), overrides)
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize("name", ["quick", "standard", "navigation", "half_cheetah"])
def test_the_suites_we_ship_name_presets_that_exist_and_give_equal_budgets(name: str) -> None:
    path = ROOT / "configs" / "benchmark" / f"{name}.yaml"
    assert load_suite(path).name == name
    budgets: dict[str, set[int | None]] = {}
    for job in plan(path, Path("out")):
        budgets.setdefault(job.config.tasks.family, set()).add(job.config.run.environment_steps)
    assert all(len(each) == 1 and None not in each for each in budgets.values())
