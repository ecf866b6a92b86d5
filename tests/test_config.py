"""Configuration: what is read, what is refused, and that every refusal is one helpful line."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.config import (
    Config,
    EvaluationConfig,
    PolicyConfig,
    RunConfig,
    TasksConfig,
    describe,
    from_mapping,
    load_config,
    parse_overrides,
    to_yaml,
)
from metarl.errors import UserError
from metarl.validation import InvalidValue, require


@dataclass(frozen=True)
class Limits:
    kl: float = 0.01


@dataclass(frozen=True)
class Learner:
    """Stands for an algorithm's settings."""

    name: Literal["learner"] = "learner"
    inner_rate: float = 0.1
    """Step size of the inner loop."""
    second_order: bool = True
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        require(self.inner_rate > 0, "inner_rate", f"must be positive, got {self.inner_rate}")


@dataclass(frozen=True)
class Other:
    name: Literal["other"] = "other"
    label: str = ""


ALGORITHMS = {"learner": Learner, "other": Other}
MINIMAL = "tasks: {family: Point-v0}\nalgorithm: {name: learner}\n"


def load(folder: Path, text: str | bytes, *arguments: str) -> Config:
    path = folder / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path, parse_overrides(arguments), ALGORITHMS)


def refusal(folder: Path, text: str | bytes, *arguments: str) -> str:
    """The line that refuses this file or these arguments; the file's name is cut to `x.yaml`."""
    with pytest.raises(UserError) as caught:
        load(folder, text, *arguments)
    line = str(caught.value)
    assert "\n" not in line
    return line.replace(str(folder) + "/", "")


def test_a_minimal_file_takes_every_default(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    assert config == Config(TasksConfig("Point-v0"), Learner())
    assert (config.policy.hidden_sizes, config.policy.activation) == ((64, 64), "tanh")
    assert (config.run.iterations, config.evaluation.split) == (500, "test")


def test_values_of_every_kind_are_read(tmp_path: Path) -> None:
    text = """
tasks: {family: Point-v0, tasks_per_iteration: 40}
algorithm: {name: learner, inner_rate: 1, second_order: false, limits: {kl: 2e-3}}
policy: {hidden_sizes: [100, 100], min_std: 1e-6, activation: relu}
evaluation: {inner_learning_rates: [0.1, 5e-2]}
run: {threads: null, output: "2024"}
"""
    assert load(tmp_path, text) == Config(
        TasksConfig("Point-v0", tasks_per_iteration=40),
        Learner(inner_rate=1.0, second_order=False, limits=Limits(0.002)),
        PolicyConfig((100, 100), "relu", min_std=1e-6),
        EvaluationConfig(inner_learning_rates=(0.1, 0.05)),
        RunConfig(output="2024"),
    )


def with_options(options: str) -> str:
    return MINIMAL.replace("Point-v0", f"Point-v0, options: {options}")


def test_options_of_the_family_are_read_and_written(tmp_path: Path) -> None:
    config = load(tmp_path, with_options("{arms: 10, scale: 1.5, legacy: true, body: small}"))
    expected = {"arms": 10, "scale": 1.5, "legacy": True, "body": "small"}
    assert config.tasks.options == expected
    assert load(tmp_path, MINIMAL).tasks.options == {}
    assert load(tmp_path, to_yaml(config)) == config


def test_one_option_may_be_overridden(tmp_path: Path) -> None:
    text = with_options("{arms: 10, pulls: 100}")
    changed = load(tmp_path, text, "--tasks.options.arms", "50")
    assert changed.tasks.options == {"arms": 50, "pulls": 100}
    added = load(tmp_path, MINIMAL, "--tasks.options.arms", "50")
    assert added.tasks.options == {"arms": 50}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("[10]", "x.yaml: tasks.options must be a mapping"),
        ("{arms: null}", "x.yaml: tasks.options.arms must be a number, text, true or false, got N"),
        ("{arms: [1, 2]}", "x.yaml: tasks.options.arms must be a number, text, true or false, got"),
    ],
)
def test_options_of_another_kind_are_refused(tmp_path: Path, options: str, line: str) -> None:
    assert refusal(tmp_path, with_options(options)).startswith(line)


def test_an_integer_becomes_a_float_where_one_is_wanted(tmp_path: Path) -> None:
    assert type(load(tmp_path, MINIMAL + "policy: {initial_std: 2}").policy.initial_std) is float


@pytest.mark.parametrize(
    ("addition", "line"),
    [
        (
            "run: {iteration: 3}",
            "x.yaml: run.iteration is not a known key; did you mean 'iterations'?",
        ),
        ("rnu: {}", "x.yaml: rnu is not a known key; did you mean 'run'?"),
        ("iterations: 3", "x.yaml: iterations is not a known key; did you mean 'run.iterations'?"),
        (
            "policy: {threads: 3}",
            "x.yaml: policy.threads is not a known key; did you mean 'run.threads'?",
        ),
        ('run: {"a\\nb": 3}', "x.yaml: run.'a\\nb' is not a known key; known: checkpoint_every, "),
        ("run: {iterations: true}", "x.yaml: run.iterations must be an integer, got True"),
        ("run: {iterations: 3.0}", "x.yaml: run.iterations must be an integer, got 3.0"),
        ("run: {iterations: 1e3}", "x.yaml: run.iterations must be an integer, got '1e3'"),
        ("run: {iterations: null}", "x.yaml: run.iterations must be an integer, got None"),
        ("policy: {initial_std: false}", "x.yaml: policy.initial_std must be a number, got False"),
        ("policy: {initial_std: '1'}", "x.yaml: policy.initial_std must be a number, got '1'"),
        ("policy: {initial_std: .nan}", "x.yaml: policy.initial_std must be a finite number, got"),
        ("policy: {initial_std: -.inf}", "x.yaml: policy.initial_std must be a finite number, got"),
        ("policy: {initial_std: 1e999}", "x.yaml: policy.initial_std must be a finite number, got"),
        (
            f"policy: {{initial_std: 1{'0' * 400}}}",
            "x.yaml: policy.initial_std must be a finite number, got 1000",
        ),
        (
            "run: {output: 2024-01-01}",
            "x.yaml: run.output must be text, got datetime.date(2024, 1, 1); put it in quotes",
        ),
        (
            "policy: {activation: no}",
            "x.yaml: policy.activation must be 'tanh' or 'relu', got False",
        ),
        ("policy: {hidden_sizes: 64}", "x.yaml: policy.hidden_sizes must be a list, such as"),
        (
            "policy: {hidden_sizes: [64, a]}",
            "x.yaml: policy.hidden_sizes[1] must be an integer, got 'a'",
        ),
        ("policy: {hidden_sizes: [64, 0]}", "x.yaml: policy.hidden_sizes[1] must be at least 1, g"),
        (
            "run: {threads: all}",
            "x.yaml: run.threads must be an integer, got 'all' (null is possible too)",
        ),
        ("run: {threads: 0}", "x.yaml: run.threads must be at least 1, got 0"),
        ("run: {seed: -1}", "x.yaml: run.seed must be at least 0, got -1"),
        ("evaluation: {inner_learning_rates: []}", "x.yaml: evaluation.inner_learning_rates must "),
        (
            "evaluation: {inner_learning_rates: [0.1, 0]}",
            "x.yaml: evaluation.inner_learning_rates[1] must be greater than 0, got 0.0",
        ),
        (
            "policy: {initial_std: 0.1, min_std: 0.2}",
            "x.yaml: policy.initial_std must be at least min_std = 0.2, got 0.1",
        ),
        ("run: 3", "x.yaml: run must be a mapping of keys to values, got 3"),
        ("run:", "x.yaml: run must be a mapping of keys to values, got None; leave it out"),
        ("run: {seed: 1, seed: 2}", "x.yaml: line 3, column 16: the key 'seed' stands here for th"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(tmp_path: Path, addition: str, line: str) -> None:
    assert refusal(tmp_path, MINIMAL + addition).startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "x.yaml: the content must be a mapping with the keys tasks, algorithm, policy, "),
        ("- a", "x.yaml: the content must be a mapping with the keys tasks"),
        (
            "{name: a, seeds: [1]}",
            "x.yaml: the content is that of a suite; run it with `metarl ben",
        ),
        ("algorithm: {name: learner}", "x.yaml: tasks.family is required and not there; add it"),
        (
            "tasks: {family: a}",
            "x.yaml: algorithm.name is required and not there; known: learner, other",
        ),
        ("algorithm: 3", "x.yaml: algorithm must be a mapping of keys to values"),
        (
            "algorithm: {name: lerner}",
            "x.yaml: algorithm.name is an unknown algorithm, 'lerner'; did you mean 'learner'?",
        ),
        (
            "tasks: {family: a, episodes_per_task: 0}\nalgorithm: {name: learner}",
            "x.yaml: tasks.episodes_per_task must be at least 1, got 0",
        ),
        (
            "tasks: {family: a}\nalgorithm: {name: learner, inner_rate: 0}",
            "x.yaml: algorithm.inner_rate must be positive, got 0.0",
        ),
        (
            "tasks: {family: a}\nalgorithm: {name: learner, limits: {lk: 0}}",
            "x.yaml: algorithm.limits.lk is not a known key; did you mean 'kl'?",
        ),
        (
            "tasks: {family: a}\nalgorithm: {name: learner, label: b}",
            "x.yaml: algorithm.label is not a known key; known: inner_rate, ",
        ),
        ("tasks: [", "x.yaml: line 1, column 9: "),
        ("tasks: &a !!python/object:os.system {}", "x.yaml: line 1, column 8: could not determine"),
        ("tasks: {? [1] : 2}", "x.yaml: line 1, column 11: found unhashable key"),
        ("tasks: !!map [1]", "x.yaml: line 1, column 8: expected a mapping node"),
        ("tasks: {family: 2024-13-45}", "x.yaml: not readable as YAML: month must be in 1..12"),
        ("a: 1\n---\nb: 2", "x.yaml: line 2, column 1: but found another document"),
        ("a: \x00", "x.yaml: not readable as YAML: "),
        ("[" * 10000, "x.yaml: not readable as YAML: "),
        (b"tasks: \xff", "x.yaml: not UTF-8 text (byte 7); save it as UTF-8"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str | bytes, line: str) -> None:
    assert refusal(tmp_path, text).startswith(line)


def test_another_algorithm_has_other_settings(tmp_path: Path) -> None:
    text = "tasks: {family: a}\nalgorithm: {name: learner, inner_rate: 0.1}"
    (tmp_path / "x.yaml").write_text(text)
    message = r"x\.yaml: algorithm\.inner_rate is no setting of other; start from one of its own"
    with pytest.raises(UserError, match=message):
        load_config(tmp_path / "x.yaml", {"algorithm.name": "other"}, ALGORITHMS)


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: there is no such file; check the path$"):
        load_config(tmp_path / "absent.yaml", algorithms=ALGORITHMS)
    with pytest.raises(UserError, match=r"cannot be read: Is a directory$"):
        load_config(tmp_path, algorithms=ALGORITHMS)


def test_a_byte_order_mark_is_harmless(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + MINIMAL.encode()) == load(tmp_path, MINIMAL)


@pytest.mark.parametrize(
    ("arguments", "section", "expected"),
    [
        (["--run.iterations", "3"], "run", {"iterations": 3}),
        (["--run.iterations=3", "--run.seed=4"], "run", {"iterations": 3, "seed": 4}),
        (["--run.checkpoint-every", "3"], "run", {"checkpoint_every": 3}),
        (["--run.checkpoint_every", "3"], "run", {"checkpoint_every": 3}),
        (["--run.output", "2024"], "run", {"output": "2024"}),
        (["--run.output=--a=b"], "run", {"output": "--a=b"}),
        (["--run.threads", "None"], "run", {"threads": None}),
        (["--run.threads", "2"], "run", {"threads": 2}),
        (["--policy.hidden_sizes", "[32, 16]"], "policy", {"hidden_sizes": (32, 16)}),
        (["--policy.hidden_sizes", "32", "16"], "policy", {"hidden_sizes": (32, 16)}),
        (["--policy.hidden_sizes", "32"], "policy", {"hidden_sizes": (32,)}),
        (["--policy.hidden_sizes", "[]"], "policy", {"hidden_sizes": ()}),
        (["--policy.min_std", "1e-3"], "policy", {"min_std": 0.001}),
        (
            ["--evaluation.inner-learning-rates", "0.1", "5e-2"],
            "evaluation",
            {"inner_learning_rates": (0.1, 0.05)},
        ),
        (["--evaluation.inner_learning_rates=null"], "evaluation", {"inner_learning_rates": None}),
        (["--algorithm.second_order", "false"], "algorithm", {"second_order": False}),
        (["--algorithm.second_order", "False"], "algorithm", {"second_order": False}),
        (["--algorithm.limits.kl", "0.5"], "algorithm", {"limits": Limits(0.5)}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_overrides_replace_single_values(
    tmp_path: Path, arguments: list[str], section: str, expected: dict[str, Any]
) -> None:
    base = MINIMAL + "run: {threads: 1}\nevaluation: {inner_learning_rates: [1.0]}"
    unchanged = load(tmp_path, base)
    changed: Any = replace(getattr(unchanged, section), **expected)
    assert changed != getattr(unchanged, section)
    assert load(tmp_path, base, *arguments) == replace(unchanged, **{section: changed})


def test_overrides_may_choose_the_algorithm(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL, "--algorithm.name", "other", "--algorithm.label", "null")
    assert config.algorithm == Other(label="null")


def test_overrides_may_be_values() -> None:
    mapping = {"tasks": {"family": "a"}, "algorithm": {"name": "learner"}}
    config = from_mapping(mapping, "here", {"run.seed": 7, "run.output": "b"}, ALGORITHMS)
    assert config.run == RunConfig(seed=7, output="b")
    assert mapping == {"tasks": {"family": "a"}, "algorithm": {"name": "learner"}}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--run.iteration", "3"],
            "command line: run.iteration is not a known key; did you mean 'iterations'?",
        ),
        (
            ["--task.family", "a"],
            "command line: task is not a known key; did you mean 'tasks'?",
        ),
        (
            ["--iterations", "3"],
            "command line: iterations is not a known key; did you mean 'run.iterations'?",
        ),
        (["--run.iterations", "a"], "command line: run.iterations must be an integer, got 'a'"),
        (["--run.iterations", "[3"], "command line: run.iterations must be an integer, got '[3'"),
        (["--run.iterations", "3", "4"], "command line: run.iterations must be an integer, got ["),
        (["--run.iterations", "-3"], "command line: run.iterations must be at least 1, got -3"),
        (["--run.device", "tpu"], "command line: run.device must be 'auto' or 'cpu' or 'cuda', "),
        (["--policy.hidden_sizes", "3", "x"], "command line: policy.hidden_sizes[1] must be an i"),
        (["--algorithm.name", "mine"], "command line: algorithm.name is an unknown algorithm, 'm"),
        (["--run", "3"], "command line: run must be a mapping of keys to values, got '3'"),
        (["--run", "{seed: 2}"], "command line: run must be a mapping of keys to values, got '{s"),
        (["--run.seed.x", "3"], "command line: run.seed.x cannot be set: 'seed' is not a mapping"),
        (["--run.seed"], "command line: run.seed needs a value, such as --run.seed VALUE"),
        (["--run.seed", "--run.output", "a"], "command line: run.seed needs a value"),
        (["--run.seed=1", "--run.seed=2"], "command line: run.seed is given twice; keep one"),
        (["run.seed", "1"], "command line: unexpected 'run.seed'; overrides look like"),
        (["--run.seed=1", "2"], "command line: unexpected '2'; overrides look like"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_override_is_refused_by_name(
    tmp_path: Path, arguments: list[str], line: str
) -> None:
    assert refusal(tmp_path, MINIMAL + "run: {seed: 1}", *arguments).startswith(line)


def test_mistakes_of_the_file_are_not_blamed_on_the_command_line(tmp_path: Path) -> None:
    text = MINIMAL + "run: {iterations: 0}"
    line = "x.yaml: run.iterations must be at least 1, got 0"
    assert refusal(tmp_path, text, "--run.seed", "3") == line


def test_impossible_values_are_refused_in_python_too() -> None:
    with pytest.raises(InvalidValue, match=r"^iterations must be at least 1, got 0$"):
        RunConfig(iterations=0)
    with pytest.raises(InvalidValue, match=r"^initial_std must be greater than 0, got nan$"):
        PolicyConfig(initial_std=float("nan"))


positive_floats = st.floats(1e-6, 1e9)


@settings(deadline=None)
@given(
    family=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    output=st.sampled_from(["null", "1e-6", "yes", "2024-01-01", "~", " a: b #c", "über/läufe"]),
    hidden_sizes=st.lists(st.integers(1, 10**6)).map(tuple),
    rates=st.none() | st.lists(positive_floats, min_size=1).map(tuple),
    inner_rate=positive_floats,
    threads=st.none() | st.integers(1),
)
def test_to_yaml_and_back_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    family: str,
    output: str,
    hidden_sizes: tuple[int, ...],
    rates: tuple[float, ...] | None,
    inner_rate: float,
    threads: int | None,
) -> None:
    config = Config(
        TasksConfig(family),
        Learner(inner_rate=inner_rate),
        PolicyConfig(hidden_sizes),
        EvaluationConfig(inner_learning_rates=rates),
        RunConfig(output=output, threads=threads),
    )
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path, algorithms=ALGORITHMS) == config


def test_yaml_is_laid_out_for_reading() -> None:
    lines = to_yaml(Config(TasksConfig("Point-v0"), Learner())).splitlines()
    assert lines[:2] == ["tasks:", "  family: Point-v0"]
    assert "  hidden_sizes: [64, 64]" in lines


def test_help_names_every_key_with_its_meaning_and_value() -> None:
    config = Config(TasksConfig("Point-v0"), Learner(inner_rate=0.25), run=RunConfig(seed=77))
    words = " ".join(describe(config).split())
    assert "--run.seed INT Seed of everything random in the run. (default: 77)" in words
    assert "--algorithm.inner_rate FLOAT Step size of the inner loop. (default: 0.25)" in words
    assert "--algorithm.second_order {True,False} (default: True)" in words
    assert "--policy.activation {tanh,relu} Nonlinearity after each hidden layer." in words
    for key in ("tasks.family", "run.checkpoint_every", "evaluation.inner_learning_rates"):
        assert f"--{key} " in words
