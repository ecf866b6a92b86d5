"""One episode as an animation: of random actions, or of a run's policy after adaptation."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.Image import Image
from torch import Tensor

from metarl.errors import UserError
from metarl.evaluation.animation import CAPTION_HEIGHT, FASTEST, captioned, check_gif, write_gif
from metarl.sampling import Sampler
from metarl.simulation import TaskVectorEnv
from metarl.simulation.engine import SimulatedFamily, StepResult
from metarl.simulation.render import frame
from metarl.tasks import Tasks
from metarl.training.experiment import Experiment
from metarl.training.restore import open_run, restore

DEFAULT_FPS = 10
"""Time steps per second of a world without a time scale of its own."""
SMALLEST, LARGEST = 160, 1920
"""Pixels along each side of an animation."""
_SHOWN_NUMBERS = 3


@dataclass(frozen=True)
class Film:
    """An animation to be made.

    Attributes:
        output: the file, `.gif`; its folder must exist.
        width: in pixels.
        height: in pixels, caption included.
        fps: time steps per second, each of which is a frame; None: real time, as far as a GIF is
            fast enough, or 10 in a world without a time scale.
        steps: time steps at most; None: the whole episode.
        on_step: called with 1, 2, ... as each time step is drawn.

    Raises UserError for an output that cannot be written and for impossible numbers.
    """

    output: str | Path
    width: int = 480
    height: int = 360
    fps: float | None = None
    steps: int | None = None
    on_step: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        check_gif(self.output)
        for name, low, high in (("width", SMALLEST, LARGEST), ("height", SMALLEST, LARGEST)):
            _require_between(name, getattr(self, name), low, high)
        if self.fps is not None:
            _require_between("fps", self.fps, 1, FASTEST)


def render_random(family: SimulatedFamily, task: Tasks, film: Film, seed: int = 0) -> int:
    """An episode of actions drawn uniformly from the action space; the number of frames.

    Args:
        family: the family.
        task: one of its tasks, see `choose_task`.
        film: the animation.
        seed: of the start, of whatever is random in the world, and of the actions.
    """
    _require_between("seed", seed, 0, None)
    env = FilmedEnv(family, 1, film, "random actions", threads=1)
    env.filming = True
    env.set_tasks(task)
    actions = copy.deepcopy(family.action_space)  # it holds a random generator
    actions.seed(seed)
    env.reset(seed=seed)
    while env.everyone_active and not env.done:
        env.step(np.asarray([actions.sample()]))
    return env.develop()


def render_trained(experiment: Experiment, task: Tasks, film: Film, adaptation_step: int) -> int:
    """An episode of a trained policy after adaptation to the task; the number of frames.

    It adapts as in the run's evaluation: with `evaluation.episodes` episodes for each step, of
    which the first one after the last step is shown, and with the evaluation's seed and rates.
    """
    _require_between("adaptation-step", adaptation_step, 0, None)
    config, family = experiment.config, experiment.family
    settings = config.evaluation
    unit = "step" if adaptation_step == 1 else "steps"
    actor = f"{config.algorithm.name} after {adaptation_step} adaptation {unit}"
    env = FilmedEnv(family, settings.episodes, film, actor, experiment.threads)
    sampler = Sampler(
        env,
        experiment.policy,
        experiment.boundary,
        normalizer=experiment.wanted_normalizer,
    )
    sampler.begin(task, "render", settings.seed, 0)
    rollouts = experiment.learner.adaptation(
        sampler, adaptation_step, settings.inner_learning_rates
    )
    for _ in range(adaptation_step):
        next(rollouts)
    env.filming = True
    next(rollouts)
    return env.develop()


def open_trained(
    path: str | Path, family: str | None = None, overrides: Mapping[str, object] | None = None
) -> Experiment:
    """The experiment of a run with what it learned; UserError if it is not of this family."""
    run, experiment = open_run(path, overrides)
    trained = experiment.family.name
    if family is not None and family.rpartition(":")[2] != trained:
        raise UserError(f"{run.path} was trained on {trained}, not on {family}; leave that out")
    restore(experiment, run)
    return experiment


def choose_task(
    family: SimulatedFamily,
    task: str | None = None,
    split: str | None = None,
    index: int | None = None,
    seed: int = 0,
) -> Tasks:
    """One task: of JSON text, or of a fixed list, or a fresh training task of this seed.

    Raises UserError for other text, for a task that the family does not have, and for an index
    that the list does not.
    """
    if index is not None and split is None:
        raise UserError("--index counts the tasks of a split; give --split too")
    if task is not None:
        return _parse_task(family, task)
    if split is None:
        return family.sample(seed, 0, 1)
    tasks = family.split(split)
    _require_between(f"--index (of the {split} tasks)", index or 0, 0, len(tasks) - 1)
    return tasks[index or 0]


class FilmedEnv(TaskVectorEnv):
    """Environments of one task that take a picture of the first one after each of its time steps.

    Every learner can adapt and act in it as in any other vector environment.

    Args:
        family: the family.
        episodes: N.
        film: the animation.
        actor: who acts, for the caption.
        threads: as `TaskVectorEnv`.
    """

    def __init__(
        self, family: SimulatedFamily, episodes: int, film: Film, actor: str, threads: int
    ):
        family = copy.copy(family)
        family.rendering = True
        super().__init__(family, 1, episodes, threads)
        if film.steps is not None:
            _require_between("steps", film.steps, 1, family.horizon)
        self.filming = False
        self._film = film
        self._actor = actor
        self._frames: list[Image] = []
        self._return = 0.0

    @property
    def done(self) -> bool:
        """Whether the film has all its time steps."""
        return len(self._frames) == (self._film.steps or self.family.horizon)

    def step_episodes(self, actions: Tensor) -> StepResult:
        active = bool(self.active[0])
        result = super().step_episodes(actions)
        if self.filming and active and not self.done and not result.failed[0]:
            self._take_picture(float(result.reward[0]))
        return result

    def develop(self) -> int:
        """Write the animation; the number of its frames.

        Raises UserError when the disk refuses, and when the physics diverged at once.
        """
        self.close()
        if not self._frames:
            raise UserError(f"the physics of {self.family.name} diverged in the first time step")
        write_gif(self._film.output, self._frames, self._film.fps or _real_time(self.family))
        return len(self._frames)

    def _take_picture(self, reward: float) -> None:
        self._return += reward
        step = len(self._frames) + 1
        picture = frame(self, 0, self._film.width, self._film.height - CAPTION_HEIGHT)
        self._frames.append(captioned(picture, self._caption(step)))
        if self._film.on_step:
            self._film.on_step(step)

    def _caption(self, step: int) -> tuple[str, str, str]:
        assert self.tasks is not None
        dt = getattr(self.family, "dt", None)
        time = f" ({step * dt:.2f} s)" if dt else ""
        return (
            f"{self.family.name}, {self._actor}",
            describe_task(self.tasks),
            f"time step {step} of {self.family.horizon}{time}, return {self._return:.2f}",
        )


def describe_task(task: Tasks) -> str:
    """The parameters of one task with their values, long arrays abbreviated."""
    return ", ".join(f"{name} {_shown(task[name][0])}" for name in task.names)


def _shown(value: Tensor) -> str:
    if value.dim() == 0:
        return f"{value.item():.3g}"
    numbers = [f"{number:.3g}" for number in value.flatten().tolist()]
    if len(numbers) > _SHOWN_NUMBERS + 1:
        numbers[_SHOWN_NUMBERS:] = [f"... {len(numbers)} numbers"]
    return f"[{', '.join(numbers)}]"


def _parse_task(family: SimulatedFamily, text: str) -> Tasks:
    text = text.strip()
    tasks = Tasks.from_json(text if text.startswith("[") else f"[{text}]")
    if len(tasks) != 1:
        raise UserError(f"--task holds {len(tasks)} tasks; give one")
    family.validate(tasks)
    # In JSON, 2 is as good as 2.0; the family's functions may rely on the kind of number.
    known = family.sample(0, 0, 1)
    exact = Tasks({name: tasks[name].to(known[name].dtype) for name in known.names})
    for name in known.names:
        if not bool((exact[name] == tasks[name]).all()):
            raise UserError(f"task parameter {name} of {family.name} must be an integer")
    return exact


def _real_time(family: SimulatedFamily) -> float:
    dt = getattr(family, "dt", None)
    return min(FASTEST, max(1.0, 1.0 / dt)) if dt else DEFAULT_FPS


def _require_between(name: str, value: float, low: float, high: float | None) -> None:
    if value < low or (high is not None and value > high):
        allowed = f"must be at least {low}" if high is None else f"must lie in {low} to {high}"
        raise UserError(f"{name} {allowed}, got {value:g}")
