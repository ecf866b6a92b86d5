"""The command line through real processes: what it prints, writes, refuses, and how it stops."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONFIG = """\
tasks: {family: PointNavigation-v0, tasks_per_iteration: 3, episodes_per_task: 2}
policy: {hidden_sizes: [8]}
algorithm: {name: maml_trpo}
evaluation: {tasks: 3, episodes: 2, steps: 2}
run: {iterations: 2, checkpoint_every: 1, threads: 1}
"""
ENDLESS = ("--run.iterations", "1000000", "--run.checkpoint_every", "1000")
_PRESS_CTRL_C_AT_IMPORT = """
import signal, sys
from metarl.cli import main

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "metarl.training.trainer":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder())
main(sys.argv[1:])
"""
Result = subprocess.CompletedProcess[str]


def metarl(folder: Path, *arguments: str) -> Result:
    command = [sys.executable, "-m", "metarl", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def refused(result: Result) -> str:
    """The one line on standard error of a command that was refused."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.yaml` and the finished run `run`; `home` copies it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(CONFIG)
    result = metarl(folder, "train", "tiny.yaml", "--output", "run", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "run"
    return folder


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.yaml`, for commands that must not write anything."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "tiny.yaml").write_text(CONFIG)
    return folder


# What the commands do ------------------------------------------------------------------------


def test_list_has_an_entry_for_each_family_and_algorithm(empty: Path) -> None:
    lines = metarl(empty, "list").stdout.splitlines()
    first_words = [line.split()[0] for line in lines if line.strip()]
    for name in ("PointNavigation-v0", "HalfCheetahVel-v0", "HalfCheetahDirMAML-v0", "maml_trpo"):
        assert first_words.count(name) == 1
    assert lines.index("half-cheetah") < lines.index("point") < lines.index("algorithms")


def test_list_json_describes_families_and_algorithms(empty: Path) -> None:
    content = json.loads(metarl(empty, "list", "--json").stdout)
    families = {family["name"]: family for family in content["families"]}
    assert families["HalfCheetahVel-v0"]["horizon"] == 200
    assert families["HalfCheetahVel-v0"]["parameters"]["velocity"]["high"] == 3.0
    assert "maml_trpo" in [algorithm["name"] for algorithm in content["algorithms"]]


def test_train_leaves_a_run_that_explains_itself(trained: Path) -> None:
    run = trained / "run"
    config = (run / "config.yaml").read_text()
    assert "seed: 3" in config
    assert "output: null" in config
    assert json.loads((run / "versions.json").read_text())["family"] == "PointNavigation-v0"
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["1", "2"]
    assert {"train/return_pre", "train/return_post", "train/adaptation_gain"} <= rows[0].keys()
    assert list((run / "tensorboard").glob("events*"))
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "000001.pt",
        "000002.pt",
    ]


def test_evaluate_writes_the_curve_three_times(home: Path) -> None:
    result = metarl(home, "evaluate", "run", "--split", "validation", "--steps", "3")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "run/evaluation/validation.png"
    base = home / "run" / "evaluation" / "validation"
    curve = json.loads(base.with_suffix(".json").read_text())
    assert curve["steps"] == [0, 1, 2, 3]
    for name in ("mean", "iqm", "low", "high"):
        assert len(curve[name]) == 4
    assert [len(task) for task in curve["returns"]] == [4, 4, 4]
    assert curve["mean"][1] == pytest.approx(sum(task[1] for task in curve["returns"]) / 3)
    assert base.with_suffix(".csv").read_text().count("\n") == 1 + 3 * 4
    assert base.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert list((home / "run" / "tensorboard").glob("*/events*"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "train "),
        (["list", "--help"], "--json"),
        (["train", "--help"], "--resume RUN"),
        (["evaluate", "--help"], "--split"),
        (["train", "tiny.yaml", "--help"], "--algorithm.inner_learning_rate FLOAT"),
        (["train", "tiny.yaml", "--run.iterations", "77", "--help"], "(default: 77)"),
        (["--version"], "metarl 0."),
    ],
)
def test_help(empty: Path, arguments: list[str], expected: str) -> None:
    result = metarl(empty, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert expected in result.stdout


def test_a_closed_pipe_is_no_traceback(empty: Path) -> None:
    command = f"{sys.executable} -m metarl list --json | head -c 1"
    result = subprocess.run(command, shell=True, cwd=empty, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("{", "")


# What they refuse ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("", "required: COMMAND"),
        ("trian tiny.yaml", "'trian'"),
        ("list --jsn", "--jsn; see `metarl list --help`"),
        ("list --run.seed 1", "no place here"),
        ("train tiny.yaml --iterations 3", "unrecognized arguments: --iterations 3"),
        ("train tiny.yaml other.yaml", "unrecognized arguments: other.yaml"),
        ("train", "give either CONFIG.yaml or --resume RUN"),
        ("train tiny.yaml --resume run", "give either CONFIG.yaml or --resume RUN"),
        ("train absent.yaml", "absent.yaml: there is no such file"),
        ("train tiny.yaml --seed abc", "argument --seed: invalid int value: 'abc'"),
        ("train tiny.yaml --seed 1 --run.seed 1", "--seed and --run.seed are one"),
        ("train tiny.yaml --run.iterations", "run.iterations needs a value"),
        ("train tiny.yaml --run.iterations 0", "run.iterations must be at least 1, got 0"),
        ("train tiny.yaml --run.iteratons 3", "did you mean 'iterations'"),
        ("train tiny.yaml --tasks.family HalfCheetaVel-v0", "did you mean 'HalfCheetahVel-v0'"),
        ("train tiny.yaml --output tiny.yaml", "tiny.yaml is a file"),
        ("train tiny.yaml --output /proc/metarl", "cannot write /proc/metarl"),
        ("train --resume absent", "no run folder absent"),
        ("train --resume .", ". is not a run folder"),
        ("evaluate", "required: RUN"),
        ("evaluate absent", "no run folder absent"),
        ("evaluate run --split trian", "invalid choice: 'trian'"),
        ("evaluate run --run.iterations 3", "run.iterations has no place here"),
    ],
)
def test_a_mistake_is_answered_with_one_line(empty: Path, command: str, expected: str) -> None:
    assert expected in refused(metarl(empty, *command.split()))
    assert [path.name for path in empty.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ("threads: 1", "thread: 1", "wrong.yaml: run.thread is not a known key; did you mean"),
        ("[8]", "wide", "wrong.yaml: policy.hidden_sizes must be a list"),
        ("{name: maml_trpo}", "{name: maml_trpo", "mend the YAML there"),
    ],
)
def test_a_mistake_in_the_yaml_names_file_and_key(
    empty: Path, tmp_path: Path, right: str, wrong: str, expected: str
) -> None:
    assert right in CONFIG
    (tmp_path / "wrong.yaml").write_text(CONFIG.replace(right, wrong))
    assert expected in refused(metarl(tmp_path, "train", "wrong.yaml"))


def _second_training(home: Path) -> list[str]:
    return ["train", "tiny.yaml", "--output", "run"]


def _fewer_iterations_than_done(home: Path) -> list[str]:
    return ["train", "--resume", "run", "--run.iterations", "1"]


def _another_seed_on_resume(home: Path) -> list[str]:
    return ["train", "--resume", "run", "--seed", "4"]


def _damaged_checkpoint(home: Path) -> list[str]:
    (home / "run" / "checkpoints" / "000002.pt").write_bytes(b"damaged")
    return ["train", "--resume", "run"]


def _evaluation_of_a_damaged_checkpoint(home: Path) -> list[str]:
    _damaged_checkpoint(home)
    return ["evaluate", "run"]


def _changed_task_list(home: Path) -> list[str]:
    versions = home / "run" / "versions.json"
    content = json.loads(versions.read_text())
    content["task_lists"]["test"] = "0123456789abcdef"
    versions.write_text(json.dumps(content))
    return ["evaluate", "run"]


def _split_that_the_family_lacks(home: Path) -> list[str]:
    family = ("PointNavigation-v0", "HalfCheetahDir-v0")
    config = home / "run" / "config.yaml"
    config.write_text(config.read_text().replace(*family))
    return ["evaluate", "run", "--split", "ood"]


def _folder_that_is_in_the_way(home: Path) -> list[str]:
    (home / "run" / "evaluation").touch()
    return ["evaluate", "run"]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_second_training, "run holds a run already; resume it with `metarl train --resume run`"),
        (_fewer_iterations_than_done, "run.iterations is 1, but run has 2 behind it"),
        (_another_seed_on_resume, "run.seed cannot change when a run is resumed"),
        (_damaged_checkpoint, "000002.pt is damaged; delete it"),
        (_evaluation_of_a_damaged_checkpoint, "000002.pt is damaged; delete it"),
        (_changed_task_list, "the test tasks of PointNavigation-v0 have changed"),
        (_split_that_the_family_lacks, "HalfCheetahDir-v0 has no ood split"),
        (_folder_that_is_in_the_way, "cannot write run/evaluation"),
    ],
)
def test_a_run_in_a_wrong_state_is_answered_with_one_line(
    home: Path, spoil: Callable[[Path], list[str]], expected: str
) -> None:
    assert expected in refused(metarl(home, *spoil(home)))


# How they stop -------------------------------------------------------------------------------


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """A training that has finished its first iteration."""
    process = subprocess.Popen(
        [sys.executable, "-m", "metarl", "train", *arguments],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "training in live" in process.stdout.readline()
    assert process.stdout.readline().startswith("iteration ")
    return process


def iterations(home: Path) -> int:
    return int((home / "live" / "metrics.csv").read_text().splitlines()[-1].split(",")[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_finishes_the_iteration(home: Path, number: int, code: int) -> None:
    with start(home, "tiny.yaml", "--output", "live", *ENDLESS) as process:
        process.send_signal(number)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == code
    assert output.splitlines()[-1] == "live"
    announcement, advice = errors.splitlines()
    assert announcement.startswith("stopping after this iteration")
    assert advice == "stopped; go on with `metarl train --resume live`"
    done = iterations(home)
    assert (home / "live" / "checkpoints" / f"{done:06d}.pt").exists()
    result = metarl(home, "train", "--resume", "live", "--run.iterations", str(done + 1))
    assert result.returncode == 0, result.stderr
    assert iterations(home) == done + 1


def test_a_second_ctrl_c_stops_at_once_and_the_run_goes_on_from_its_checkpoint(home: Path) -> None:
    # So many tasks that an iteration lasts longer than it takes to press twice.
    many = ("--tasks.tasks_per_iteration", "100", "--tasks.episodes_per_task", "20")
    with start(home, "tiny.yaml", "--output", "live", *ENDLESS, *many) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("stopping after this iteration")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors == (
        "stopped at once; go on from the last checkpoint with `metarl train --resume live`\n"
    )
    assert [path.name for path in (home / "live" / "checkpoints").iterdir()] == ["000000.pt"]
    result = metarl(home, "train", "--resume", "live", "--run.iterations", "1")
    assert result.returncode == 0, result.stderr
    assert iterations(home) == 1


def test_ctrl_c_while_everything_is_imported_is_no_traceback(home: Path) -> None:
    command = [sys.executable, "-c", _PRESS_CTRL_C_AT_IMPORT, "train", "tiny.yaml"]
    result = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "stopped\n")


def test_a_live_run_refuses_a_second_training(home: Path) -> None:
    with start(home, "tiny.yaml", "--output", "live", *ENDLESS) as process:
        try:
            again = refused(metarl(home, "train", "--resume", "live"))
            anew = refused(metarl(home, "train", "tiny.yaml", "--output", "live"))
        finally:
            process.kill()
    assert f"process {process.pid} is training in live" in again
    assert "live holds a run already" in anew


def test_resuming_a_finished_run_says_how_to_extend_it(home: Path) -> None:
    before = sorted((home / "run").rglob("*"))
    result = metarl(home, "train", "--resume", "run")
    assert (result.returncode, result.stderr) == (0, "")
    *_, advice, folder = result.stdout.splitlines()
    assert "all 2 iterations are done" in advice
    assert "`metarl train --resume run --run.iterations 4`" in advice
    assert folder == "run"
    assert sorted((home / "run").rglob("*")) == before
