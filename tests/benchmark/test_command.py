"""`metarl benchmark` with real processes: failures, kills, signals, and going on after them."""

import contextlib
import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from metarl.benchmark.command import describe, run_benchmark
from metarl.benchmark.pool import Running
from metarl.benchmark.suite import plan
from metarl.benchmark.view import View, last_row
from metarl.benchmark.worker import to_line
from metarl.cli import main
from metarl.errors import UserError
from metarl.jobs import Job
from metarl.training.checkpoints import Checkpoints
from metarl.training.run_folder import RunFolder

PRESET = """\
tasks: {family: PointNavigation-v0, horizon: 10, tasks_per_iteration: 3, episodes_per_task: 2}
policy: {hidden_sizes: [4]}
algorithm: {name: NAME}
evaluation: {tasks: 3, episodes: 2, steps: 1}
run: {iterations: 2, checkpoint_every: 2}
"""
LONG = 60  # iterations of the run that is killed on its way
SUITE = f"""\
name: tiny
seeds: [1, 2]
families: [world]
learners: [maml_trpo, promp]
overrides_for: {{"*/maml_trpo": {{run.iterations: {LONG}}}}}
"""
KILLED, BLOCKED = "world/maml_trpo/seed1", "world/promp/seed2"
UNHURT = ["world/maml_trpo/seed2", "world/promp/seed1"]


def write_suite(folder: Path) -> Path:
    configs = folder / "configs"
    for name in ("maml_trpo", "promp"):
        path = configs / "world" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PRESET.replace("NAME", name))
    suite = configs / "benchmark" / "tiny.yaml"
    suite.parent.mkdir()
    suite.write_text(SUITE)
    return suite


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def metrics(run: Path) -> list[dict[str, str]]:
    """Rows without what depends on the clock."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


@dataclass
class Call:
    """What one call of `run_benchmark` did; `compared` are the folders of the comparison."""

    code: int = -1
    out: str = ""
    err: str = ""
    compared: list[str] = field(default_factory=list)

    def compare(self, folders: Sequence[Path], output: Path, split: str) -> Path:
        assert split == "test"
        self.compared = [path.relative_to(output.parent).as_posix() for path in folders]
        return output / "index.html"


def call(
    suite: Path, root: Path, at_a_time: int = 1, resume: bool = True, really: bool = False
) -> Call:
    """`really` compares in earnest."""
    made = Call()
    compare = None if really else made.compare
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        made.code = run_benchmark(plan(suite, root), root, at_a_time, resume, compare)
    made.out, made.err = out.getvalue(), err.getvalue()
    return made


@dataclass
class Story:
    """A benchmark of which one run is killed and one fails, and the two that go on after it."""

    suite: Path
    root: Path
    first: Call
    described: list[str]
    before: dict[str, dict[Path, int]]
    killed_at: int
    second: Call
    after_second: dict[Path, int]
    third: Call
    after_third: dict[Path, int]


def _killing_look(self: View, running: Sequence[Running]) -> None:
    for each in running:
        path = each.job.run.path
        if path.as_posix().endswith(KILLED) and last_row(path / "metrics.csv")[0] >= 3:
            each.process.kill()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    suite, root = write_suite(folder), folder / "out"
    in_the_way = root / BLOCKED / "thesis.tex"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(View, "looked", _killing_look)
        first = call(suite, root, at_a_time=2)
    described = describe(plan(suite, root))
    before = {name: files(root / name) for name in UNHURT}
    killed_at = Checkpoints(root / KILLED / "checkpoints").iterations()[-1]
    in_the_way.unlink()
    second = call(suite, root, at_a_time=2)
    after_second = files(root)
    third = call(suite, root, really=True)
    return Story(
        *(suite, root, first, described, before, killed_at),
        *(second, after_second, third, files(root)),
    )


def test_failures_are_reported_and_stop_no_others(story: Story) -> None:
    assert story.first.code == 1
    head, *errors = story.first.err.splitlines()
    assert head.startswith("2 of 4 runs failed")
    assert len(errors) == 2
    killed, blocked = sorted(errors)
    assert killed.startswith(f"error: {story.root / KILLED}: killed by SIGKILL")
    assert blocked.startswith(
        f"error: {story.root / BLOCKED}: {story.root / BLOCKED} is not empty and holds no run"
    )
    assert story.first.compared == ["world/promp/seed1", "world/maml_trpo/seed2"]


def test_states_are_described(story: Story) -> None:
    *lines, total = story.described
    states = dict(line.removeprefix(f"{story.root}/").split(None, 1) for line in lines)
    assert states == {
        KILLED: f"stopped after iteration {story.killed_at}",
        BLOCKED: "new",
        **dict.fromkeys(UNHURT, "done"),
    }
    assert total == "4 runs, 2 done, 2 to do"


def test_resume_does_the_rest_and_touches_nothing_that_is_done(story: Story) -> None:
    assert (story.second.code, story.second.err) == (0, "")
    assert story.second.compared == [
        *("world/maml_trpo/seed1", "world/promp/seed1"),
        *("world/maml_trpo/seed2", "world/promp/seed2"),
    ]
    assert story.second.out.splitlines()[-1] == str(story.root / "comparison" / "index.html")
    for name in UNHURT:
        assert files(story.root / name) == story.before[name]
        assert f"{name.replace('/seed', ' seed ')}: started" not in story.second.out


def test_a_killed_run_ends_as_if_it_had_not_been(story: Story, tmp_path: Path) -> None:
    assert 0 < story.killed_at < LONG
    job = plan(story.suite, story.root)[0]
    assert job.run.path == story.root / KILLED
    alone = Job(job.preset, job.config, RunFolder(tmp_path / "run"))
    alone.train(Console(quiet=True))
    assert len(metrics(alone.run.path)) == LONG
    assert metrics(story.root / KILLED) == metrics(alone.run.path)


def test_where_all_is_done_only_the_comparison_is_made(story: Story) -> None:
    assert (story.third.code, story.third.err) == (0, "")
    assert "started" not in story.third.out
    new = {path for path, when in story.after_third.items() if story.after_second.get(path) != when}
    assert {path.relative_to(story.root).parts[0] for path in new} == {".lock", "comparison"}


def test_the_comparison_is_of_all_runs(story: Story) -> None:
    report = story.root / "comparison" / "report.html"
    assert story.third.out.splitlines()[-1] == str(report)
    assert {"maml_trpo", "promp"} <= set(story.third.out.split())
    with report.with_name("table.csv").open(newline="") as file:
        rows = [(row["learner"], row["seeds"]) for row in csv.DictReader(file)]
    assert sorted(rows) == [("maml_trpo", "2"), ("promp", "2")]


def test_logs_of_all_attempts_are_kept(story: Story) -> None:
    log = (story.root / "logs" / "world" / "maml_trpo" / "seed1.log").read_text()
    assert f"iterations 1 to {LONG}" in log
    assert f"iterations {story.killed_at + 1} to {LONG}" in log


def test_other_settings_fail_without_a_process(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metarl.benchmark.pool.subprocess.Popen", None)
    jobs = plan(story.suite, story.root, {"policy.hidden_sizes": [5]})
    made = Call()
    with contextlib.redirect_stderr(io.StringIO()) as err:
        assert run_benchmark(jobs, story.root, 1, True, made.compare) == 1
    assert err.getvalue().count("started with policy.hidden_sizes = (4,), now it is (5,)") == 4
    assert made.compared == []


def test_a_run_that_ends_before_its_budget_is_pointed_out(
    story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = plan(story.suite, story.root, {"run.environment_steps": 1_000_000})
    assert run_benchmark(jobs, story.root, 1, True, Call().compare) == 0
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 4
    assert f"{UNHURT[1]} ended at its last iteration, 2, with 2" in error[1]


def test_a_folder_in_use_is_refused(story: Story) -> None:
    with RunFolder(story.root).lock(), pytest.raises(UserError, match=f"process {os.getpid()} is"):
        call(story.suite, story.root)


def test_a_folder_that_holds_anything_needs_resume(story: Story) -> None:
    before = files(story.root)
    with pytest.raises(UserError, match="out is not empty; add --resume"):
        call(story.suite, story.root, resume=False)
    assert files(story.root) == before


def test_ctrl_c_finishes_the_iteration_and_starts_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(self: View, running: Sequence[Running]) -> None:
        if not pressed and running and last_row(running[0].job.run.metrics_file)[0] >= 1:
            pressed.append(running[0].job)
            signal.raise_signal(signal.SIGINT)

    pressed: list[Job] = []
    suite, root = write_suite(tmp_path), tmp_path / "out"
    suite.write_text(SUITE.replace(f"iterations: {LONG}", "iterations: 1000000"))
    monkeypatch.setattr(View, "looked", press)
    made = call(suite, root, resume=False)
    assert made.code == 130
    assert made.err == "stopped; the same command with --resume goes on\n"
    assert made.compared == []
    assert len(list(root.rglob("config.yaml"))) == 1
    stopped = pressed[0]
    assert stopped.iterations == last_row(stopped.run.metrics_file)[0]


def test_a_run_stops_when_the_benchmark_is_gone(tmp_path: Path) -> None:
    suite, root = write_suite(tmp_path), tmp_path / "out"
    job = plan(suite, root, {"run.iterations": 1_000_000})[0]
    command = [sys.executable, "-m", "metarl.benchmark.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(to_line(job.preset, job.config, job.run.path))
        process.stdin.flush()
        for line in process.stdout:
            if line.startswith(b"iteration"):
                break
        process.stdin.close()
        process.stdout.read()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert job.iterations == last_row(job.run.metrics_file)[0] > 0


# The command line -----------------------------------------------------------------------------


def run_main(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["benchmark", *arguments])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_a_dry_run_lists_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write_suite(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    assert run_main(str(suite), "--dry-run") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["runs/tiny/world/maml_trpo/seed1", "new"]
    assert " ".join(lines[-1]) == "4 runs, 0 done, 4 to do"
    assert files(tmp_path) == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none.yaml"], "none.yaml: there is no such file"),
        (["SUITE", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["SUITE", "--run.seed", "1"], "command line: run.seed differs from run to run"),
        (["SUITE", "--output", "configs"], "configs is not empty; add --resume"),
        (["SUITE", "--output", "file"], "file is not empty; add --resume"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    suite = write_suite(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert run_main(*(str(suite) if word == "SUITE" else word for word in arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {expected}")
    assert error.count("\n") == 1


def test_the_command_goes_on_to_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        "metarl.benchmark.command.run_benchmark", lambda *given: calls.append(given) or 0
    )
    suite = write_suite(tmp_path)
    assert run_main(str(suite), "--jobs", "3", "--resume", "--run.iterations", "7") == 0
    jobs, root, at_a_time, resume = calls[0]
    assert (root, at_a_time, resume) == (Path("runs/tiny"), 3, True)
    assert isinstance(jobs, list)
    assert [job.config.run.iterations for job in jobs] == [7] * 4
