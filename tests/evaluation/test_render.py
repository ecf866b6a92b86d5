"""Episodes as GIFs: their frames, captions, speed, and who acts in them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metarl.cli import main
from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.evaluation import render
from metarl.evaluation.animation import CAPTION_HEIGHT, captioned, write_gif
from metarl.evaluation.render import (
    Film,
    choose_task,
    describe_task,
    open_trained,
    render_random,
    render_trained,
)
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import Tasks, make
from metarl.training.trainer import Trainer

CONFIG = {
    "tasks": {"family": "PointNavigation-v0", "tasks_per_iteration": 2, "episodes_per_task": 2},
    "policy": {"hidden_sizes": [4]},
    "algorithm": {"name": "maml_trpo", "inner_learning_rate": 5.0},
    "evaluation": {"tasks": 2, "episodes": 3, "steps": 1},
    "run": {"iterations": 1, "threads": 1},
}
FAR = '{"goal": [2, 2]}'


def point() -> SimulatedFamily:
    family = make("PointNavigation-v0")
    assert isinstance(family, SimulatedFamily)
    return family


def frames_of(path: Path) -> list[np.ndarray]:
    frames = []
    with Image.open(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")))
    return frames


def durations_of(path: Path) -> list[int]:
    found = []
    with Image.open(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            found.append(image.info["duration"])
    return found


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The captions of the frames that the test draws; the pictures are empty, and quick."""
    found: list[tuple[str, ...]] = []

    def remember(picture: np.ndarray, lines: Any) -> Image.Image:
        found.append(tuple(lines))
        return captioned(picture, lines)

    def empty(env: Any, index: int, width: int, height: int) -> np.ndarray:
        assert index == 0
        return np.full((height, width, 3), 200, np.uint8)

    monkeypatch.setattr(render, "captioned", remember)
    monkeypatch.setattr(render, "frame", empty)
    return found


# Random actions ------------------------------------------------------------------------------


def test_a_frame_for_each_time_step(tmp_path: Path) -> None:
    output = tmp_path / "walk.gif"
    family = point()
    counted: list[int] = []
    film = Film(output, 200, 180, steps=5, on_step=counted.append)
    assert render_random(family, choose_task(family, FAR), film) == 5
    assert counted == [1, 2, 3, 4, 5]
    frames = frames_of(output)
    assert [frame.shape for frame in frames] == [(180, 200, 3)] * 5
    for before, after in itertools.pairwise(frames):
        assert (before[:CAPTION_HEIGHT] != after[:CAPTION_HEIGHT]).any()
        assert (before[CAPTION_HEIGHT:] != after[CAPTION_HEIGHT:]).any()
    with Image.open(output) as image:
        assert image.info["loop"] == 0  # for ever
    assert [path.name for path in tmp_path.iterdir()] == ["walk.gif"]


def test_an_episode_has_at_most_the_horizon_and_ends_where_the_task_does(
    tmp_path: Path, captions: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = Film(tmp_path / "x.gif", 160, 160)
    family: Any = point()
    assert render_random(family, choose_task(family, FAR), film) == 100
    # Two frames after these 100, so in the third time step.
    monkeypatch.setattr(
        family, "terminated", lambda state, tasks: torch.tensor([len(captions) == 102])
    )
    assert render_random(family, choose_task(family, FAR), film) == 3


def test_the_caption_tells_task_time_and_return(
    tmp_path: Path, captions: list[tuple[str, ...]]
) -> None:
    family = point()
    task = choose_task(family, FAR)
    render_random(family, task, Film(tmp_path / "x.gif", steps=3), seed=4)
    env = render.TaskVectorEnv(family, 1, threads=1)
    env.set_tasks(task)
    env.reset(seed=4)
    space = make("PointNavigation-v0").action_space
    space.seed(4)
    rewards = [float(env.step(space.sample()[None])[1][0]) for _ in range(3)]
    assert captions[0][:2] == ("PointNavigation-v0, random actions", "goal [2, 2]")
    assert [lines[2] for lines in captions] == [
        f"time step {step} of 100, return {sum(rewards[:step]):.2f}" for step in (1, 2, 3)
    ]


def test_the_seed_decides_the_actions(tmp_path: Path, captions: list[tuple[str, ...]]) -> None:
    family = point()
    task = choose_task(family, FAR)
    for seed in (1, 1, 2):
        render_random(family, task, Film(tmp_path / "x.gif", steps=1), seed)
    first, again, other = (lines[2] for lines in captions)
    assert first == again != other


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="seed must be at least 0, got -1"):
        render_random(point(), choose_task(point(), FAR), Film(tmp_path / "x.gif"), seed=-1)


def test_seconds_are_in_the_caption_and_the_speed_is_real(
    tmp_path: Path, captions: list[tuple[str, ...]]
) -> None:
    for name, milliseconds, second in (
        ("HalfCheetahVel-v0", [50, 50, 50], "0.10 s"),  # 20 time steps per second
        ("HalfCheetahVelMAML-v0", [20, 20, 20], "0.02 s"),  # 100, more than a GIF can show
        ("PointNavigation-v0", [100, 100, 100], None),
    ):
        captions.clear()
        family: Any = make(name)
        render_random(family, family.sample(0, 0, 1), Film(tmp_path / "x.gif", steps=3))
        assert durations_of(tmp_path / "x.gif") == milliseconds
        expected = "time step 2 of" if second is None else f"time step 2 of 200 ({second})"
        assert captions[1][2].startswith(expected)


def test_diverged_physics_is_not_shown(tmp_path: Path, captions: list[tuple[str, ...]]) -> None:
    family: Any = point()
    move = family.transition

    def diverge(state: Any, action: Any, tasks: Any, random: Any) -> Any:
        return move(state, action, tasks, random) * (torch.nan if len(captions) == good else 1.0)

    family.transition = diverge
    good = 2
    assert render_random(family, choose_task(family, FAR), Film(tmp_path / "x.gif")) == 2
    good = 0
    captions.clear()
    with pytest.raises(UserError, match="PointNavigation-v0 diverged in the first time step"):
        render_random(family, choose_task(family, FAR), Film(tmp_path / "y.gif"))
    assert not (tmp_path / "y.gif").exists()


# Trained policies ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    config = from_mapping(CONFIG, "test", {"run.output": str(path)})
    Trainer.start(config).train()
    return path


def test_the_policy_has_adapted_as_often_as_wanted(
    run: Path, tmp_path: Path, captions: list[tuple[str, ...]]
) -> None:
    experiment = open_trained(run, "PointNavigation-v0")
    task = choose_task(experiment.family, FAR)
    film = Film(tmp_path / "x.gif", steps=40)
    sampler = experiment.sampler(1, 3)
    sampler.begin(task, "render", 0, 0)
    rollouts = list(experiment.learner.adaptation(sampler, 2))
    for step, rollout in enumerate(rollouts):
        captions.clear()
        assert render_trained(experiment, task, film, step) == 40
        unit = "step" if step == 1 else "steps"
        expected = f"PointNavigation-v0, maml_trpo after {step} adaptation {unit}"
        assert captions[0][0] == expected
        first_episode = float(rollout.rewards[0, 0, :40].double().sum())
        assert captions[-1][2] == f"time step 40 of 100, return {first_episode:.2f}"
    returns = {float(rollout.rewards[0, 0, :40].sum()) for rollout in rollouts}
    assert len(returns) == 3


def test_a_run_of_another_family_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match="was trained on PointNavigation-v0, not on HalfCheetah"):
        open_trained(run, "HalfCheetahVel-v0")
    assert open_trained(run, "metarl_envs.point:PointNavigation-v0").family.name
    with pytest.raises(UserError, match="adaptation-step must be at least 0, got -1"):
        render_trained(open_trained(run), point().sample(0, 0, 1), Film("x.gif"), -1)


# The command ---------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of `metarl render`."""
    with pytest.raises(SystemExit) as exit_:
        main(["render", *words])
    captured = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, captured.out, captured.err


def test_the_command_draws_what_it_is_told(
    run: Path,
    tmp_path: Path,
    captions: list[tuple[str, ...]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    size = ("--steps", "2", "--width", "200", "--height", "160", "--fps", "5")
    words = ("PointNavigation-v0", "--task", FAR, "--output", "a.gif", "--seed", "1")
    assert command(capsys, *words, *size)[:2] == (0, "a.gif\n")
    assert captions[-1][:2] == ("PointNavigation-v0, random actions", "goal [2, 2]")
    assert [frame.shape for frame in frames_of(Path("a.gif"))] == [(160, 200, 3)] * 2
    assert durations_of(Path("a.gif")) == [200, 200]

    words = ("--run", str(run), "--split", "test", "--index", "3", "--output", "b.gif")
    assert command(capsys, *words, *size, "--evaluation.episodes", "1")[:2] == (0, "b.gif\n")
    goal = describe_task(point().split("test")[3])
    assert captions[-1][:2] == ("PointNavigation-v0, maml_trpo after 1 adaptation step", goal)
    assert command(capsys, *words, *size, "--adaptation-step", "0")[0] == 0
    assert captions[-1][0].endswith("after 0 adaptation steps")

    options = ("--tasks.options.arms", "7", "--output", "c.gif", *size)
    assert command(capsys, "BernoulliBandit-v0", *options)[:2] == (0, "c.gif\n")
    assert "7 numbers" in captions[-1][1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--output", "x.gif"], "give a FAMILY or --run RUN"),
        (["PointNavigation-v0"], "arguments are required: --output"),
        (["PointNavigaton-v0", "--output", "x.gif"], "did you mean 'PointNavigation-v0'"),
        (["PointNavigation-v0", "--output", "x.mp4"], "must end in .gif"),
        (["--run", "absent", "--output", "x.gif"], "no run folder absent"),
        (["A-v0", "--output", "x.gif", "--adaptation-step", "1"], "give --run RUN too"),
        (["A-v0", "--output", "x.gif", "--split", "train"], "invalid choice: 'train'"),
        (["A-v0", "--output", "x.gif", "--split", "test", "--task", "{}"], "not allowed with"),
        (["A-v0", "--output", "x.gif", "--run.threads", "1"], "run.threads has no place here"),
        (
            ["PointNavigation-v0", "--output", "x.gif", "--tasks.options.arms", "[1]"],
            "command line: tasks.options.arms must be a number, text",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_answered_with_one_line(
    words: list[str],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output, errors = command(capsys, *words)
    assert (code, output) == (2, "")
    assert expected in errors
    assert errors.splitlines()[-1].startswith("error: ")
    assert not list(tmp_path.iterdir())


# Tasks ---------------------------------------------------------------------------------------


def test_a_task_is_chosen_by_json_split_or_seed() -> None:
    family = point()
    task = choose_task(family, FAR)
    assert task == Tasks({"goal": [[2.0, 2.0]]})
    assert task["goal"].dtype == torch.float64  # although 2 is an integer in JSON
    assert choose_task(family, '[{"goal": [2, 2]}]') == task
    assert choose_task(family, split="test", index=7) == family.split("test")[7]
    assert choose_task(family, split="ood") == family.split("ood")[0]
    assert choose_task(family, seed=3) == family.sample(3, 0, 1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"task": '{"goal": [1'}, "these are no tasks: .* expected e.g."),
        ({"task": "3"}, "these are no tasks: not a list of objects; expected"),
        ({"task": '{"goal": ["a", 1]}'}, "no tasks: parameters must be numbers, got .*'a'"),
        ({"task": "[]"}, "these are no tasks: a batch needs at least one task"),
        ({"task": f"[{FAR}, {FAR}]"}, "--task holds 2 tasks; give one"),
        ({"task": '{"gaol": [1, 2]}'}, "has the task parameters goal; got gaol"),
        ({"task": '{"goal": 1}'}, "goal of PointNavigation-v0 has shape"),
        ({"task": '{"goal": [NaN, 0]}'}, "goal of PointNavigation-v0 must be finite"),
        ({"split": "test", "index": 100}, "of the test tasks.* must lie in 0 to 99, got 100"),
        ({"split": "test", "index": -1}, "must lie in 0 to 99, got -1"),
        ({"split": "tset"}, "unknown split 'tset'"),
        ({"index": 1}, "--index counts the tasks of a split; give --split too"),
    ],
)
def test_a_mistake_in_the_task_is_answered(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        choose_task(point(), **arguments)


def test_captions_abbreviate_long_arrays() -> None:
    task = Tasks({"speed": [1.23456], "scale": [[[1.0, 2.5], [3.0, 4.0], [5.0, 6.0]]], "id": [7]})
    assert describe_task(task) == "speed 1.23, scale [1, 2.5, 3, ... 6 numbers], id 7"


# The file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("film", "expected"),
    [
        ({"output": "x.png"}, "the output x.png must end in .gif"),
        ({"output": "folder.gif"}, "the output folder.gif is a folder"),
        ({"output": "absent/x.gif"}, "cannot write absent/x.gif: No such file or directory; make"),
        ({"output": "file/x.gif"}, "cannot write file/x.gif"),
        ({"output": "x.gif", "fps": 51}, "fps must lie in 1 to 50, got 51"),
        ({"output": "x.gif", "width": 159}, "width must lie in 160 to 1920, got 159"),
        ({"output": "x.gif", "height": 2000}, "height must lie in 160 to 1920, got 2000"),
    ],
)
def test_what_cannot_be_written_is_refused_before_it_is_drawn(
    film: dict[str, Any], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=expected):
        Film(**film)


@pytest.mark.parametrize("steps", [0, 101])
def test_steps_lie_within_the_horizon(steps: int, tmp_path: Path) -> None:
    film = Film(tmp_path / "x.gif", steps=steps)
    with pytest.raises(UserError, match=f"steps must lie in 1 to 100, got {steps}"):
        render_random(point(), point().sample(0, 0, 1), film)


def test_a_disk_that_refuses_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.gif").write_bytes(b"old")

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metarl.files.os.replace", refuse)
    with pytest.raises(UserError, match=r"cannot write .*x\.gif: No space left"):
        write_gif(tmp_path / "x.gif", [Image.new("RGB", (8, 8))], 10)
    assert [path.name for path in tmp_path.iterdir()] == ["x.gif"]
    assert (tmp_path / "x.gif").read_bytes() == b"old"


def test_a_speed_that_hundredths_of_a_second_cannot_tell_is_right_on_average(
    tmp_path: Path,
) -> None:
    shades = [Image.new("RGB", (8, 8), (40 * n, 0, 0)) for n in range(6)]
    write_gif(tmp_path / "x.gif", shades, 30)
    assert durations_of(tmp_path / "x.gif") == [30, 40, 30, 30, 40, 30]  # 200 ms for 6 frames


def test_white_stays_white_among_many_colours(tmp_path: Path) -> None:
    # Much paper, and as many shades next to it as smooth letters have.
    shades = np.full((64, 64, 3), 255, np.uint8)
    shades[:16] = np.random.default_rng(0).integers(0, 256, (16, 64, 3))
    shades[16:20] = np.linspace(240, 255, 64).astype(np.uint8)[:, None]
    write_gif(tmp_path / "x.gif", [Image.fromarray(shades)], 10)
    (frame,) = frames_of(tmp_path / "x.gif")
    assert (frame[20:] == 255).all()
    assert np.abs(frame[:20].astype(int) - shades[:20]).mean() < 15


def test_a_line_that_is_too_long_ends_in_dots() -> None:
    picture = np.zeros((20, 160, 3), np.uint8)
    long = np.asarray(captioned(picture, ["i" * 500, "", ""]))
    short = np.asarray(captioned(picture, ["i", "", ""]))
    assert long.shape == (20 + CAPTION_HEIGHT, 160, 3)
    inked = np.flatnonzero((long[:CAPTION_HEIGHT] < 128).any(axis=(0, 2)))
    assert 140 < inked.max() <= 154
    assert (short[:CAPTION_HEIGHT] < 128).any()
