"""The launchers: every preset of their family for every seed, resumable, errors at the end."""

import json
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metarl.launch import find_presets, launch

ROOT = Path(__file__).resolve().parents[1]
PRESET = """\
tasks: {family: PointNavigation-v0, tasks_per_iteration: 3, episodes_per_task: 2}
policy: {hidden_sizes: [8]}
algorithm: {name: maml_trpo}
evaluation: {tasks: 3, episodes: 2, steps: 1}
run: {iterations: 2, threads: 1}
"""


def run_script(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / name), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """Presets of two families, of which the launcher under test has `world`."""
    folder = tmp_path / "configs"
    for name in ("world/maml", "world_small/maml", "other/maml"):
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(PRESET)
    return folder


class Launcher:
    """Runs `launch` in this process, as a script would, from `folder`."""

    def __init__(self, configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._configs, self._capsys = configs, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        with pytest.raises(SystemExit) as exit_:
            launch(self._configs, "world*", "Train worlds.", arguments)
        captured = self._capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return exit_.value.code, captured.out, captured.err


@pytest.fixture
def launcher(
    configs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Launcher:
    monkeypatch.chdir(tmp_path)
    return Launcher(configs, capsys)


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "folders", "output"),
    [
        (
            "train_point.py",
            [
                "point_corner",
                "point_navigation",
                "sparse_point_robot",
                "sparse_point_robot_varibad",
            ],
            "runs/point",
        ),
        (
            "train_discrete_worlds.py",
            ["bernoulli_bandit", "gaussian_bandit", "grid_world", "tabular_mdp"],
            "runs/discrete_worlds",
        ),
        (
            "train_few_shot.py",
            ["banking77", "clinc150", "gaussian_process", "glyphs", "omniglot", "sinusoids"],
            "runs/few_shot",
        ),
    ],
)
def test_scripts_list_the_presets_of_their_families(
    name: str, folders: list[str], output: str, tmp_path: Path
) -> None:
    result = run_script(name, tmp_path, "--list")
    assert (result.returncode, result.stderr) == (0, "")
    paths = [path for folder in folders for path in (ROOT / "configs" / folder).glob("*.yaml")]
    names = [path.relative_to(ROOT / "configs").with_suffix("").as_posix() for path in paths]
    assert result.stdout.split() == sorted(names)
    assert not list(tmp_path.iterdir())
    assert f"default: {output}\n" in run_script(name, tmp_path, "--help").stdout


def test_every_preset_belongs_to_one_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("metarl.launch.launch", lambda **arguments: calls.append(arguments))
    for path in sorted((ROOT / "scripts").glob("train_*.py")):
        runpy.run_path(str(path), run_name="__main__")
    listed = [name for call in calls for name in find_presets(call["configs"], call["pattern"])]
    assert sorted(listed) == list(find_presets(ROOT / "configs", "*"))


def test_a_script_trains_a_real_preset(tmp_path: Path) -> None:
    result = run_script(
        "train_half_cheetah.py",
        tmp_path,
        *("--seeds", "4", "--presets", "half_cheetah_dir/maml_trpo", "--run.iterations", "1"),
        *("--tasks.tasks_per_iteration", "3", "--tasks.episodes_per_task", "2"),
        *("--policy.hidden_sizes", "8", "--evaluation.tasks", "3", "--evaluation.episodes", "2"),
    )
    assert result.returncode == 0, result.stderr
    folder = Path("runs/half_cheetah/half_cheetah_dir/maml_trpo/seed4")
    assert result.stdout.splitlines()[-1] == str(folder)
    curve = json.loads((tmp_path / folder / "evaluation" / "test.json").read_text())
    assert (curve["family"], curve["seed"], curve["iteration"]) == ("HalfCheetahDir-v0", 4, 1)


def test_presets_are_found_by_one_pattern_or_several(configs: Path) -> None:
    assert list(find_presets(configs, "world*")) == ["world/maml", "world_small/maml"]
    assert list(find_presets(configs, "world")) == ["world/maml"]
    assert list(find_presets(configs, ["other", "*_small"])) == ["other/maml", "world_small/maml"]


def test_every_preset_and_seed_gets_a_run_of_its_own(launcher: Launcher, tmp_path: Path) -> None:
    code, _, errors = launcher("--seeds", "1", "2", "1", "--output", "out")
    assert (code, errors) == (0, "")
    curves = sorted(path.relative_to(tmp_path / "out") for path in tmp_path.rglob("test.json"))
    assert list(map(str, curves)) == [
        f"{preset}/maml/seed{seed}/evaluation/test.json"
        for preset in ("world", "world_small")
        for seed in (1, 2)
    ]


def test_resume_skips_what_is_done_and_goes_on_with_the_rest(
    launcher: Launcher, tmp_path: Path
) -> None:
    assert launcher("--presets", "world/maml")[0] == 0
    first = tmp_path / "runs" / "world" / "world" / "maml" / "seed1"
    done = files(first)
    code, _, errors = launcher("--seeds", "1", "2", "--presets", "world/maml", "--resume")
    assert (code, errors) == (0, "")
    assert files(first) == done
    assert (first.with_name("seed2") / "evaluation" / "test.json").exists()

    code, output, _ = launcher("--presets", "world/maml", "--resume", "--run.iterations", "3")
    assert code == 0
    assert "iterations 3 to 3" in output
    assert json.loads((first / "evaluation" / "test.json").read_text())["iteration"] == 3


def test_runs_that_exist_are_not_touched_without_resume(launcher: Launcher, tmp_path: Path) -> None:
    assert launcher("--presets", "world/maml")[0] == 0
    before = files(tmp_path)
    code, output, errors = launcher()
    assert (code, output) == (2, "")
    assert errors.startswith("error: runs/world/world/maml/seed1 holds a run already; add --resume")
    assert files(tmp_path) == before


def test_a_failed_run_does_not_stop_the_others(launcher: Launcher, tmp_path: Path) -> None:
    in_the_way = tmp_path / "runs" / "world" / "world" / "maml" / "seed1"
    in_the_way.mkdir(parents=True)
    (in_the_way / "thesis.tex").touch()
    code, output, errors = launcher()
    failure, summary = errors.splitlines()
    assert code == 2
    assert failure.startswith("error: runs/world/world/maml/seed1 is not empty")
    assert summary == ("error: 1 of 2 runs failed, see above: runs/world/world/maml/seed1")
    assert output.splitlines()[-1] == "runs/world/world_small/maml/seed1"


def test_resume_refuses_runs_of_other_settings(launcher: Launcher) -> None:
    assert launcher("--presets", "world/maml")[0] == 0
    code, _, errors = launcher("--presets", "world/maml", "--resume", "--policy.hidden_sizes", "4")
    assert code == 2
    assert "seed1 was started with policy.hidden_sizes = (8,), now it is (4,)" in errors


def test_a_signal_stops_them_all_and_resume_goes_on(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metarl.training.metrics import MetricsLog

    write = MetricsLog.write

    def write_and_interrupt(self: MetricsLog, iteration: int, metrics: dict[str, float]) -> None:
        write(self, iteration, metrics)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as during:
        during.setattr(MetricsLog, "write", write_and_interrupt)
        code, _, errors = launcher()
    assert code == 130
    assert errors.splitlines()[-1] == "stopped; the same command with --resume goes on"
    assert len(list(tmp_path.rglob("versions.json"))) == 1
    code, output, _ = launcher("--resume")
    assert code == 0
    assert "iterations 2 to 2" in output
    assert len(list(tmp_path.rglob("test.json"))) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--presets", "wrld/maml"], "unknown preset 'wrld/maml'; did you mean 'world/maml'"),
        (["--presets", "other/maml"], "unknown preset 'other/maml'"),
        (["--seeds", "one"], "invalid int value: 'one'"),
        (["--seeds", "-1"], "run.seed must be at least 0, got -1"),
        (["--run.seed", "1"], "run.seed differs from run to run; give --seeds"),
        (["--run.iteratons", "1"], "did you mean 'iterations'"),
        (["--tasks.family", "Pointnav-v0"], "unknown task family 'Pointnav-v0'"),
    ],
)
def test_mistakes_are_refused_before_anything_is_trained(
    launcher: Launcher, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    code, _, errors = launcher(*arguments)
    assert code == 2
    assert expected in errors
    assert not list(tmp_path.rglob("versions.json"))


def test_presets_are_named_by_folder_and_file(configs: Path) -> None:
    (configs / "world" / "notes.txt").touch()
    assert find_presets(configs, "world*") == {
        name: configs / f"{name}.yaml" for name in ("world/maml", "world_small/maml")
    }
