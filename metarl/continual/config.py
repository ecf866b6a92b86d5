"""What a continual run is made of: a sequence of tasks, methods, and one PPO for all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from metarl.algorithms.ppo import PPOConfig
from metarl.config import PlaceConfig, PolicyConfig
from metarl.errors import nearest
from metarl.validation import require, require_at_least


@dataclass(frozen=True)
class SequenceConfig:
    """The tasks, one after another, and how long each is trained on."""

    family: str
    """Name of the task family, e.g. HalfCheetahDynamics-v0; `metarl list` shows them all."""
    tasks: tuple[object, ...]
    """Tasks in the order of training: names that the family knows, or mappings from task parameter
    to value, e.g. {velocity: 1.5}. What stands here twice is one task, trained on twice."""
    held_out: object = None
    """A task like these that is never trained on, to which every policy adapts after each stage;
    null: none."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the family's constructor takes."""
    horizon: int | None = None
    """Time steps of an episode (T); null: the family's."""
    repetitions: int = 1
    """How often the whole sequence is gone through."""
    iterations: int = 100
    """PPO updates on each task in each stage."""
    episodes: int = 10
    """Episodes of an update (N), for each learner."""

    def __post_init__(self) -> None:
        require(self.family != "", "family", "must name a task family; see `metarl list`")
        require(len(self.tasks) > 0, "tasks", "must hold at least one task")
        require_at_least(1, self, "horizon", "repetitions", "iterations", "episodes")


@dataclass(frozen=True)
class ContinualPPOConfig:
    """Settings of the continual learners; all of them train at once, stacked."""

    name: Literal["continual_ppo"] = "continual_ppo"
    """The learner."""
    methods: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Methods, each with the strengths lambda to train with: an empty list for those without one.
    fine_tuning, l2, l2_accumulating, ewc, online_ewc, si, mas, distillation, packnet, a_gem,
    from_scratch, multi_task, those of plugins; or module:name."""
    seeds: int = 5
    """Learners of every method and strength, of different initial parameters and episodes."""
    identity: Literal["hidden", "given", "heads"] = "hidden"
    """What a policy knows of which task it is in: nothing; a one-hot vector beside the observation;
    or an output layer for each task."""
    penalized: tuple[Literal["trunk", "head", "value"], ...] = ("trunk", "head")
    """Parameters that regularisers hold: hidden layers of the policy, its output layer with the
    standard deviation, the value network."""
    penalty_step: Literal["proximal", "gradient"] = "proximal"
    """How a quadratic penalty acts: by its exact proximal step after each step of the optimiser,
    in the optimiser's metric, or by its gradient beside the loss's."""
    optimizer_at_switch: Literal["reset", "keep"] = "reset"
    """What becomes of the optimiser's moments when the task changes."""
    online_decay: float = 0.95
    """online_ewc: factor of the old importances when a new task's are added (gamma)."""
    si_damping: float = 1e-3
    """si: added to squared distances before they divide (xi)."""
    importance_floor: float = 0.0
    """ewc, online_ewc and mas: the least importance of a parameter; Continual World takes 1e-5."""
    packnet_retraining: float = 0.25
    """packnet: share of a stage's iterations that retrains the weights it keeps."""
    initial_run: str | None = None
    """Run folder of a meta-learner whose parameters the policies start from; null: random ones."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """The PPO update of an iteration."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "seeds")
        require_at_least(0, self, "importance_floor", "si_damping")
        require(len(self.methods) > 0, "methods", "must name at least one method")
        for key in ("online_decay", "packnet_retraining"):
            value = getattr(self, key)
            require(0 <= value <= 1, key, f"must lie in [0, 1], got {value}")
        require(self.initial_run != "", "initial_run", "must name a run folder, or be null")
        for name, strengths in self.methods.items():
            _check_method(name, strengths)


@dataclass(frozen=True)
class ContinualEvaluationConfig:
    """What is measured, besides the returns of the training episodes."""

    evaluate_every: int = 25
    """Iterations between evaluations on all tasks of the sequence; the end of a stage always has
    one."""
    episodes: int = 10
    """Episodes of each learner and task in an evaluation."""
    adaptation_steps: int = 5
    """PPO updates on the held-out task after each stage."""
    seed: int = 0
    """Seed of resets and action noise in evaluations."""

    def __post_init__(self) -> None:
        require_at_least(0, self, "adaptation_steps", "seed")
        require_at_least(1, self, "evaluate_every", "episodes")


@dataclass(frozen=True)
class ContinualConfig:
    """A continual experiment; the content of a preset, and of a run folder's `config.yaml`."""

    title: ClassVar[str] = "continual"
    comparison: ClassVar[str] = "metarl.continual.compare"
    experiment: ClassVar[str] = "metarl.continual.experiment:ContinualExperiment"
    may_change: ClassVar[tuple[str, ...]] = ("run.threads",)

    sequence: SequenceConfig
    algorithm: ContinualPPOConfig = field(default_factory=ContinualPPOConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    evaluation: ContinualEvaluationConfig = field(default_factory=ContinualEvaluationConfig)
    run: PlaceConfig = field(default_factory=PlaceConfig)

    @classmethod
    def algorithms(cls) -> Mapping[str, type]:
        """The settings dataclass of the continual learners."""
        return {"continual_ppo": ContinualPPOConfig}


def _check_method(name: str, strengths: tuple[float, ...]) -> None:
    # Late: the methods stand above this module.
    from metarl.continual.methods import find_method, methods

    key, known = f"methods.{name}", methods()
    # `module:name` is answered by `find_method`, which imports the module.
    require(":" in name or name in known, key, f"is an unknown method; {nearest(name, known)}")
    if find_method(name).has_strength:
        message = "needs a list of strengths (lambda), such as [0.1, 1.0]"
        require(len(strengths) > 0, key, message)
    else:
        require(len(strengths) == 0, key, "has no strength; give it an empty list, []")
    require(len(set(strengths)) == len(strengths), key, "names a strength twice; keep one")
    for index, strength in enumerate(strengths):
        message = f"must be at least 0, got {strength}"
        require(strength >= 0, f"{key}[{index}]", message)
