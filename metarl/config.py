"""What a run is made of: frozen dataclasses, read from YAML and dotted command-line overrides.

Every mistake (an unknown key, a wrong type, an impossible value) becomes one `UserError` line
that names the file or the command line, the key, and what to do. Attribute docstrings are the help
text of `metarl train CONFIG --help`.
"""

import contextlib
import copy
import dataclasses
import io
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_type_hints

import tyro
import yaml

from metarl.errors import UserError, nearest
from metarl.validation import (
    InvalidValue,
    Text,
    UnknownKey,
    build,
    require,
    require_at_least,
    require_positive,
)

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class TasksConfig:
    """Which tasks are sampled, and how much of each."""

    family: str
    """Name of the task family, e.g. PointNavigation-v0; `metarl list` shows them all."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the family's constructor takes, e.g. {arms: 10} for a bandit."""
    horizon: int | None = None
    """Time steps of an episode (T); null: the family's."""
    training_tasks: int | None = None
    """Train on this many tasks, drawn once, of which each iteration takes a meta-batch; null: fresh
    draws in every iteration."""
    tasks_per_iteration: int = 20
    """Tasks in one meta-batch (K)."""
    episodes_per_task: int = 20
    """Episodes of each task before, and again after, every adaptation step (N)."""
    stages: tuple[dict[str, object], ...] = ()
    """A sequence of task distributions: for each stage the parameters that are drawn from another
    range, e.g. [{velocity: [0, 1]}, {velocity: [2, 3]}]; an empty list: the family's throughout."""
    iterations_per_stage: int | None = None
    """Meta-iterations of each stage; training beyond the last one stays in it."""

    def __post_init__(self) -> None:
        require(self.family != "", "family", "must name a task family; see `metarl list`")
        require_at_least(1, self, "horizon", "tasks_per_iteration", "episodes_per_task")
        if self.training_tasks is not None:
            least = f"tasks_per_iteration = {self.tasks_per_iteration}"
            message = f"must be at least {least}, got {self.training_tasks}"
            require(self.training_tasks >= self.tasks_per_iteration, "training_tasks", message)
            message = "must be null: stages draw fresh tasks in every iteration"
            require(not self.stages, "training_tasks", message)
        require_at_least(1, self, "iterations_per_stage")
        if bool(self.stages) != (self.iterations_per_stage is not None):
            message = "must be given together with stages, and only then"
            raise InvalidValue("iterations_per_stage", message)


@dataclass(frozen=True)
class PolicyConfig:
    """The policy network: an MLP from observations to an action distribution."""

    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer; an empty list makes the policy linear."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Nonlinearity after each hidden layer."""
    initial_std: float = 1.0
    """Standard deviation of every action dimension at the start of training."""
    min_std: float = 1e-6
    """Floor of the learned standard deviation."""
    action_scaling: Literal["unit", "ten", "none"] = "unit"
    """Which of the policy's actions cover the environment's box: [-1, 1] (unit: rllab, PEARL),
    [-10, 10] (ten: ProMP, pytorch-maml-rl, garage), or the box itself (none); all are clipped."""

    normalize_observations: bool = False
    """Give every observation mean 0 and standard deviation 1, as measured once before training in
    an iteration's worth of episodes of the initial policy; fixed from then on."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "hidden_sizes")
        require_positive(self, "initial_std", "min_std")
        message = f"must be at least min_std = {self.min_std}, got {self.initial_std}"
        require(self.initial_std >= self.min_std, "initial_std", message)


@dataclass(frozen=True)
class EvaluationConfig:
    """The adaptation curve on held-out tasks."""

    split: Literal["validation", "test", "ood"] = "test"
    """Which fixed list of tasks; ood lies outside the training range."""
    steps: int = 5
    """Adaptation steps on each task; the curve has one point more."""
    tasks: int = 40
    """Tasks, from the start of the list."""
    episodes: int = 20
    """Episodes of each task per adaptation step."""
    seed: int = 0
    """Seed of resets and action noise; the tasks do not depend on it."""
    inner_learning_rates: tuple[float, ...] | None = None
    """Rate of each adaptation step, the last one repeated; null: as in training."""

    def __post_init__(self) -> None:
        require_at_least(0, self, "steps", "seed")
        require_at_least(1, self, "tasks", "episodes")
        require_positive(self, "inner_learning_rates")
        message = "must hold at least one rate; null takes those of training"
        require(self.inner_learning_rates != (), "inner_learning_rates", message)


@dataclass(frozen=True)
class PlaceConfig:
    """Where and on what the training runs; every kind of experiment has these settings."""

    seed: int = 1
    """Seed of everything random in the run."""
    output: str | None = None
    """Folder of the run; null: a new one at runs/FAMILY/ALGORITHM/seedN-DATE-TIME, or with the data
    in place of the family."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the learner computes; auto takes cuda where there is one. Simulators stay on CPUs."""
    threads: int | None = None
    """Threads of the learner, and of a simulation; null: the CPUs this process may use."""
    checkpoint_every: int = 10
    """Iterations between checkpoints."""

    def __post_init__(self) -> None:
        require_at_least(0, self, "seed")
        require_at_least(1, self, "threads", "checkpoint_every")
        require(self.output != "", "output", "must name a folder, or be null")


@dataclass(frozen=True)
class RunConfig(PlaceConfig):
    """How long, where and on what the training runs."""

    iterations: int = 500
    """Meta-iterations."""
    environment_steps: int | None = None
    """Stop after the iteration in which this many environment steps are reached, if that comes
    before the last one: equal budgets for learners whose iterations differ; null: no limit."""
    evaluate_every: int = 0
    """Iterations between evaluations on the validation split; 0: none during training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, self, "evaluate_every")
        require_at_least(1, self, "iterations", "environment_steps")


class ExperimentConfig(Protocol):
    """What the configurations of all kinds of experiments have in common: a dataclass of sections.

    A kind is known by a section that only it has, see `KINDS`.
    """

    title: ClassVar[str]
    """What the kind is called."""
    comparison: ClassVar[str]
    """The module of `load_comparison`, `write_comparison`, `terminal_tables`, `as_json` and
    `is_part`."""
    experiment: ClassVar[str]
    """Where its `Trainable` is made: `module:Class`, with a method `from_config`."""
    may_change: ClassVar[tuple[str, ...]]
    """Keys that may change when a run is resumed, because they change no number."""

    @property
    def run(self) -> PlaceConfig: ...

    @classmethod
    def algorithms(cls) -> Mapping[str, type]:
        """The settings dataclass of each `algorithm.name`."""
        ...


KINDS = {
    "sequence": "metarl.continual.config:ContinualConfig",
    "data": "metarl.fewshot.config:FewShotConfig",
}
"""The configurations of experiments other than meta-RL's, by the section that only they have."""


@dataclass(frozen=True)
class Config:
    """A meta-RL experiment; the content of a preset, and of a run folder's `config.yaml`."""

    title: ClassVar[str] = "meta-RL"
    comparison: ClassVar[str] = "metarl.evaluation.compare"
    experiment: ClassVar[str] = "metarl.training.experiment:Experiment"
    suite: ClassVar[str] = "metarl.evaluation.suite"
    may_change: ClassVar[tuple[str, ...]] = (
        "run.iterations",
        "run.environment_steps",
        "run.threads",
    )

    tasks: TasksConfig
    algorithm: Any
    """The settings dataclass of the algorithm that `algorithm.name` chooses."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if getattr(self.algorithm, "fixed_tasks", False):
            message = f"must be a number of tasks: {self.algorithm.name} remembers each of them"
            require(self.tasks.training_tasks is not None, "tasks.training_tasks", message)
        check_tasks = getattr(self.algorithm, "check_tasks", None)
        if check_tasks:
            check_tasks(self.tasks)

    @classmethod
    def algorithms(cls) -> Mapping[str, type]:
        """The settings dataclass of each learner, built-in and from plugins."""
        # Late: the learners stand above this module and import their field checks from below it.
        from metarl.algorithms import config_classes

        return config_classes()


def load_config(
    path: str | Path,
    overrides: Mapping[str, object] | None = None,
    algorithms: Mapping[str, type] | None = None,
    overrides_from: str = COMMAND_LINE,
) -> Any:
    """The configuration in a YAML file, changed by overrides: a `Config`, or that of another kind.

    Args:
        path: the file.
        overrides: values by dotted key, e.g. `{"run.iterations": 3}`, or from `parse_overrides`.
        algorithms: settings dataclasses by name; by default those of `metarl.algorithms`.
        overrides_from: where the overrides stand, for errors.

    Raises:
        UserError: one line, for anything wrong with the file or the overrides.
    """
    return from_mapping(read_yaml(path), str(path), overrides, algorithms, overrides_from)


def from_mapping(
    mapping: object,
    source: str,
    overrides: Mapping[str, object] | None = None,
    algorithms: Mapping[str, type] | None = None,
    overrides_from: str = COMMAND_LINE,
) -> Any:
    """As `load_config`, from a nested mapping; `source` stands for the file in errors."""
    overrides = overrides or {}
    try:
        kind = _kind(mapping)
        merged = _merge(mapping, overrides, kind)
        known = kind.algorithms() if algorithms is None else algorithms
        section_types = {"algorithm": _algorithm_class(merged, known)}
        try:
            return build(kind, merged, replaced_types=section_types)
        except UnknownKey as error:
            name = overrides.get("algorithm.name")
            if name and error.key.startswith("algorithm.") and error.key not in overrides:
                message = f"is no setting of {name}; start from one of its own presets"
                raise InvalidValue(error.key, message) from error
            raise _pointing_to_section(error, kind, section_types) from error
    except InvalidValue as error:
        typed = _is_from_command_line(error.key, mapping, overrides)
        place = overrides_from if typed else source
        raise UserError(f"{place}: {error.key} {error.message}") from error


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key, each behind `prefix`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def kind_of_file(path: str | Path) -> Any:
    """The configuration class of the experiment that a YAML file describes; UserError for a file
    that is missing or no YAML."""
    return _kind(read_yaml(path))


def kind_of_text(text: str) -> Any:
    """The configuration class of the experiment that the text of a preset seems to describe, by
    lines that start sections: also where it is not readable as YAML."""
    lines = text.splitlines()
    found = {key: None for key in KINDS if any(line.startswith(f"{key}:") for line in lines)}
    return _kind(found)


def _kind(mapping: object) -> Any:
    """The configuration class of the experiment that a mapping describes."""
    found = [section for section in KINDS if isinstance(mapping, Mapping) and section in mapping]
    return pkgutil.resolve_name(KINDS[found[0]]) if found else Config


def _merge(mapping: object, overrides: Mapping[str, object], kind: Any) -> dict[Any, Any]:
    if not isinstance(mapping, Mapping):
        got = "nothing" if mapping is None else f"a {type(mapping).__name__}"
        sections = ", ".join(section.name for section in dataclasses.fields(kind))
        raise InvalidValue("the content", f"must be a mapping with the keys {sections}; got {got}")
    merged = copy.deepcopy(dict(mapping))
    for key, value in overrides.items():
        *sections, name = key.split(".")
        inner = merged
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise InvalidValue(key, f"cannot be set: {section!r} is not a mapping of keys")
        inner[name] = value
    return merged


def _algorithm_class(mapping: Mapping[Any, Any], algorithms: Mapping[str, type]) -> type:
    section = mapping.get("algorithm", {})
    if not isinstance(section, Mapping):
        raise InvalidValue("algorithm", "must be a mapping of keys to values")
    name = section.get("name")
    if name is None and "seeds" in mapping:
        raise InvalidValue("the content", "is that of a suite; run it with `metarl benchmark`")
    if name is None:
        known = ", ".join(sorted(algorithms))
        raise InvalidValue("algorithm.name", f"is required and not there; known: {known}")
    if not isinstance(name, str) or name not in algorithms:
        hint = nearest(str(name), algorithms)
        raise InvalidValue("algorithm.name", f"is an unknown algorithm, {str(name)!r}; {hint}")
    return algorithms[name]


def _is_from_command_line(key: str, mapping: object, overrides: Mapping[str, object]) -> bool:
    key = key.split("[")[0]
    if any(key == typed or key.startswith(typed + ".") for typed in overrides):
        return True
    # A section may be wrong as a whole, and be there only because an override names it.
    return any(typed.startswith(key + ".") for typed in overrides) and not _holds(mapping, key)


def _holds(mapping: object, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(mapping, Mapping) or part not in mapping:
            return False
        mapping = mapping[part]
    return True


def _pointing_to_section(
    error: UnknownKey, kind: Any, section_types: Mapping[str, type]
) -> InvalidValue:
    """The same error, with a better hint where another section has a key of exactly this name."""
    name = error.key.rpartition(".")[2]
    elsewhere = []
    for section, annotation in (get_type_hints(kind) | dict(section_types)).items():
        if not dataclasses.is_dataclass(annotation):  # a class variable
            continue
        if name in (setting.name for setting in dataclasses.fields(annotation)):
            elsewhere.append(f"{section}.{name}")
    if not elsewhere:
        return error
    hint = " or ".join(map(repr, elsewhere))
    return InvalidValue(error.key, f"is not a known key; did you mean {hint}?")


class _StrictLoader(yaml.SafeLoader):
    """YAML where a key that stands twice in a mapping is an error; the last would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        seen = set()
        for key in keys:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"the key {key.value!r} stands here for the second time"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> object:
    """The content of a YAML file; UserError, in one line, for one that is not there or not YAML."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; check the path") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{path}: {line}{error.problem}; mend the YAML there") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not readable as YAML: {reason}") from error


def parse_overrides(arguments: Sequence[str]) -> dict[str, object]:
    """Dotted overrides from the command line: `--run.iterations 3`, `--policy.hidden-sizes 32 32`.

    Words stay text until `load_config` knows the type of their field; several become a list.

    Raises:
        UserError: for words without a key, a key without a value, a key given twice.
    """
    overrides: dict[str, object] = {}
    remaining = list(arguments)
    while remaining:
        option, equals, value = remaining.pop(0).partition("=")
        if not option.startswith("--") or option == "--":
            raise UserError(
                f"{COMMAND_LINE}: unexpected {option!r}; overrides look like --run.iterations 3"
            )
        key = option[2:].replace("-", "_")
        words = [value] if equals else _take_values(remaining)
        if not words:
            raise UserError(f"{COMMAND_LINE}: {key} needs a value, such as {option} VALUE")
        if key in overrides:
            raise UserError(f"{COMMAND_LINE}: {key} is given twice; keep one")
        overrides[key] = Text(words[0]) if len(words) == 1 else [Text(word) for word in words]
    return overrides


def family_options(family: str, overrides: Mapping[str, object]) -> dict[str, Any]:
    """A family's options among overrides such as `tasks.options.arms`, as a preset gives them."""
    prefix = "tasks.options."
    given = {key.removeprefix(prefix): v for key, v in overrides.items() if key.startswith(prefix)}
    try:
        return build(TasksConfig, {"family": family, "options": given}, "tasks").options
    except InvalidValue as error:
        raise UserError(f"{COMMAND_LINE}: {error.key} {error.message}") from error


def _take_values(remaining: list[str]) -> list[str]:
    words = []
    while remaining and not remaining[0].startswith("--"):
        words.append(remaining.pop(0))
    return words


class _Dumper(yaml.SafeDumper):
    """YAML in which a tuple is a list on one line."""


_Dumper.add_representer(
    tuple, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True)
)


def to_yaml(config: Any) -> str:
    """The whole configuration as YAML; `load_config` gives an equal one back."""
    return yaml.dump(dataclasses.asdict(config), Dumper=_Dumper, sort_keys=False, width=100)


def describe(config: Any) -> str:
    """Help text: every dotted key with its type, what it means, and its value in `config`."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(
            type(config),
            default=config,
            args=["--help"],
            prog="metarl train CONFIG",
            description="Settings of this configuration; each can be given on the command line.",
            use_underscores=True,
            # `parse_overrides` wants a value for every key, so no `--no_...` flags here.
            config=(tyro.conf.FlagConversionOff,),
        )
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines()) + "\n"
