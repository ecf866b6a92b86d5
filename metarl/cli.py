"""The command line: `metarl list`, `train`, `evaluate`, `compare`, `benchmark`, and others."""

import argparse
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import metarl
from metarl.errors import UserError

DESCRIPTION = "Meta-learning: train on distributions of tasks, evaluate adaptation, compare."

TRAIN_EPILOG = """\
Every setting of CONFIG can be changed by its dotted key:
  metarl train configs/point_navigation/maml_trpo.yaml --run.iterations 50
`metarl train CONFIG --help` lists all keys of that configuration with their values.
A CONFIG with a section `sequence` trains continual learners, every method and seed at once, one
with a section `data` a few-shot method:
  metarl train configs/continual/point_goals/ewc.yaml --algorithm.methods.ewc 0.1 10
  metarl train configs/omniglot/prototypical.yaml --episodes.ways 20 --data-root DIR
Ctrl-C finishes the iteration, writes a checkpoint and leaves a run that --resume continues.
The last line printed is the run folder."""

_OF_EVALUATION = ("evaluation.", "run.threads", "run.device")
_OF_FEW_SHOT = (
    *("episodes.ways", "episodes.shots", "episodes.queries"),
    *("model.normalization", "data.root"),
)
"""Dotted keys that `metarl evaluate` takes, the second ones of few-shot runs alone."""

EVALUATE_EPILOG = """\
Writes RUN/evaluation/SPLIT.json, .csv and .png, and prints the adaptation table.
Options that are not given keep the values of the run's configuration. Learning rates per step:
  metarl evaluate RUN --evaluation.inner_learning_rates 0.1 0.05
Of a run with tasks.stages also stages.json, .csv and .png: returns on the tasks of every stage.
Of a continual run RUN/evaluation/continual.json and pictures; it measures while it trains, and
takes no options here. The last line printed is the picture, or the file.
Of a few-shot run RUN/evaluation/fewshot-SPLIT.json, .csv and .png, with predictions of curves;
on episodes of another size, in files of their own that `metarl compare` takes too:
  metarl evaluate RUN --episodes 600 --steps 3
  metarl evaluate RUN --episodes.ways 20 --episodes.shots 5
With other statistics in BatchNorm (transductive, support or running), in files of their own too:
  metarl evaluate RUN --model.normalization support"""

RENDER_EPILOG = """\
Shows random actions, or with --run what a trained policy does after adapting to the task.
Without --task and --split it is a fresh training task, another one for each seed.
Needs no display: robots are drawn by EGL or OSMesa (MUJOCO_GL=egl|osmesa|glfw chooses).
  metarl render HalfCheetahVel-v0 --task '{"velocity": 1.5}' --output random.gif
  metarl render --run RUN --adaptation-step 1 --split test --index 3 --output adapted.gif
Options of a family: --tasks.options.KEY VALUE; with --run: --evaluation.KEY VALUE.
The last line printed is the file."""

COMPARE_EPILOG = """\
Groups runs by family, learner and seed; below a folder it takes every run there. Writes to DIR:
  report.html      everything in one file: curves, tables, task definitions, commands, versions
  table.csv, .md   a row per family and learner; and the pictures as .png and .svg
  improvement.csv  a row per pair of learners, per_task.csv every seed, task and adaptation step,
                   both of meta-RL runs alone
  metarl compare runs/
  metarl compare runs/PointNavigation-v0/{maml_trpo,promp}/* --output comparisons/navigation
  metarl compare RUN1 RUN2 --split ood --evaluate
Runs whose family version, horizon, tasks, episodes or MuJoCo version differ are refused.
Continual runs are compared among themselves, a section for each sequence: matrix of returns,
performance over time, curves over lambda, forgetting and transfer; matrix.csv has every stage.
Few-shot runs, too: a section for each data set and size of episodes, beside published figures;
runs that were tested on other episodes of that size are refused.
The last line printed is the report."""

CHECK_EPILOG = """\
One line per check, ok or FAIL with what to do; the exit code is 1 if anything fails.
A family in a file of yours, registered in my_tasks.py in this folder:
  metarl check my_tasks:WindyPoint-v0"""


BENCHMARK_EPILOG = """\
Trains and evaluates every preset of SUITE with every seed, in OUTPUT/PRESET/seedN, then compares
them in OUTPUT/comparison. What is done is skipped and what was stopped goes on; a run that fails
does not stop the others, is reported at the end, and makes the exit code 1. Logs: OUTPUT/logs.
  metarl benchmark configs/benchmark/quick.yaml --jobs 2
  metarl benchmark configs/benchmark/standard.yaml --jobs 4 --resume
Dotted keys change every run: --run.environment_steps 100000
Ctrl-C finishes the iterations that run; twice stops at once. Both leave what --resume goes on with.
The last line printed is the report."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit, as `exit_with` says."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    exit_with(lambda: _run(words))


def exit_with(command: Callable[[], int]) -> NoReturn:
    """Exit with what `command` returns; 2 for a mistake of the user, 130 after Ctrl-C."""
    try:
        code = command()
        sys.stdout.flush()  # here, where a closed pipe is still an exception that we answer
        sys.exit(code)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # The reader of a pipe (head, say) has gone; there is no one left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(words: list[str]) -> int:
    plain, dotted = split_overrides(words)
    options, unknown = _parser().parse_known_args(plain)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options.run(options, dotted)


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Dotted options with their values, apart from all other words."""
    plain: list[str] = []
    dotted: list[str] = []
    current = plain
    for word in words:
        if word.startswith("--"):
            current = dotted if "." in word.partition("=")[0] else plain
        current.append(word)
    return plain, dotted


class Parser(argparse.ArgumentParser):
    """Answers a mistake with one line: a UserError."""

    def __init__(self, **settings: Any):
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def _parser() -> Parser:
    parser = Parser(prog="metarl", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"metarl {metarl.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser(
        "list", help="families, algorithms, few-shot and continual methods"
    )
    listing.add_argument("--json", action="store_true", help="everything, as one JSON object")
    listing.set_defaults(run=_list, parser=listing)

    train = commands.add_parser(
        "train",
        help="train a meta-learner, continual learners or a few-shot method, or go on with a run",
        epilog=TRAIN_EPILOG,
        add_help=False,
    )
    train.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="a preset, see configs/")
    train.add_argument("--resume", metavar="RUN", help="go on with this run folder instead")
    train.add_argument("--seed", type=int, metavar="N", help="seed of everything random")
    train.add_argument("--output", metavar="DIR", help="run folder; default: a new one in runs/")
    train.add_argument(
        "--data-root", metavar="DIR", help="few-shot runs: folder with a local copy of the data"
    )
    train.add_argument("-h", "--help", action="store_true", help="this text, or CONFIG's settings")
    train.set_defaults(run=_train, parser=train)

    evaluate = commands.add_parser(
        "evaluate", help="adaptation curve on held-out tasks", epilog=EVALUATE_EPILOG
    )
    evaluate.add_argument("folder", metavar="RUN", help="run folder, as printed by train")
    evaluate.add_argument(
        "--split",
        choices=("test", "validation", "ood"),
        help="list of tasks, or classes of few-shot runs, which have no ood",
    )
    for name, text in (
        ("steps", "adaptation steps"),
        ("tasks", "tasks, from the start of the list; not of few-shot runs"),
        ("episodes", "episodes of each task per step; of few-shot runs: test episodes"),
        ("seed", "seed of resets and action noise; of few-shot runs: of the test episodes"),
    ):
        evaluate.add_argument(f"--{name}", type=int, metavar="N", help=text)
    evaluate.add_argument(
        "--data-root", metavar="DIR", help="few-shot runs: folder with a local copy of the data"
    )
    evaluate.set_defaults(run=_evaluate, parser=evaluate)
    _add_compare(commands)
    _add_check(commands)
    _add_render(commands)
    _add_benchmark(commands)
    return parser


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare", help="learners side by side, as one report", epilog=COMPARE_EPILOG
    )
    compare.add_argument(
        "folders", nargs="+", metavar="RUN", help="run folder, or a folder with runs below it"
    )
    compare.add_argument(
        "--output", metavar="DIR", help="default: a new folder runs/comparison-DATE-TIME"
    )
    compare.add_argument(
        "--split",
        choices=("test", "validation", "ood"),
        help="list of tasks; default: test",
    )
    compare.add_argument(
        "--evaluate", action="store_true", help="evaluate runs that are not, or not since training"
    )
    compare.add_argument(
        "--allow-mixed", action="store_true", help="compare what differs, with a warning"
    )
    compare.add_argument("--json", action="store_true", help="print the tables as one JSON object")
    compare.set_defaults(run=_compare, parser=compare)


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check", help="conformance checks of task families", epilog=CHECK_EPILOG
    )
    check.add_argument(
        "families", nargs="*", metavar="NAME", help="family, e.g. AntVel-v0 or module:Name-v0"
    )
    check.add_argument(
        "--all",
        action="store_true",
        help="every known family; skips those whose optional package is missing",
    )
    check.set_defaults(run=_check, parser=check)


def _add_render(commands: Any) -> None:
    render = commands.add_parser(
        "render", help="one episode as an animated GIF", epilog=RENDER_EPILOG
    )
    render.add_argument("family", nargs="?", metavar="FAMILY", help="see `metarl list`")
    render.add_argument("--output", required=True, metavar="FILE.gif", help="where to write it")
    render.add_argument("--run", dest="folder", metavar="RUN", help="the policy of this run folder")
    render.add_argument(
        "--adaptation-step", type=int, metavar="N", help="steps it has adapted; default: 1"
    )
    task = render.add_mutually_exclusive_group()
    task.add_argument("--task", metavar="JSON", help="parameters of the task")
    task.add_argument(
        "--split", choices=("test", "validation", "ood"), help="a task of this fixed list"
    )
    for name, text in (
        ("index", "which task of the split, from 0; default: 0"),
        ("seed", "seed of task, start and actions; default: 0, or the run's evaluation.seed"),
        ("steps", "time steps at most; default: the horizon"),
        ("fps", "time steps per second, 1 to 50; default: real time, or 10 without a time scale"),
        ("width", "pixels; default: 480"),
        ("height", "pixels, caption included; default: 360"),
    ):
        render.add_argument(f"--{name}", type=int, metavar="N", help=text)
    render.set_defaults(run=_render, parser=render)


def _add_benchmark(commands: Any) -> None:
    benchmark = commands.add_parser(
        "benchmark", help="families × learners × seeds, then a comparison", epilog=BENCHMARK_EPILOG
    )
    benchmark.add_argument("suite", metavar="SUITE.yaml", help="see configs/benchmark/")
    benchmark.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time, which share the CPUs"
    )
    benchmark.add_argument("--resume", action="store_true", help="go on with the runs in OUTPUT")
    benchmark.add_argument("--output", metavar="DIR", help="default: runs/NAME of the suite")
    benchmark.add_argument(
        "--dry-run", action="store_true", help="list the runs and how far they are"
    )
    benchmark.set_defaults(run=_benchmark, parser=benchmark)


def _list(options: argparse.Namespace, dotted: list[str]) -> int:
    from metarl.listing import as_json, as_text

    _refuse(dotted, ())
    print(json.dumps(as_json(), indent=1) if options.json else as_text())
    return 0


def _train(options: argparse.Namespace, dotted: list[str]) -> int:
    from metarl.config import describe, load_config, parse_overrides

    overrides = parse_overrides(dotted)
    _add_shorthands(overrides, options, "run", ("seed", "output"))
    _add_shorthands(overrides, options, "data", ("root",), "data_")
    if options.help:
        wanted = options.config and describe(load_config(options.config, overrides))
        print(wanted or _train_help(options))
        return 0
    if (options.config is None) == (options.resume is None):
        raise UserError("give either CONFIG.yaml or --resume RUN; see `metarl train --help`")
    config = load_config(options.config, overrides) if options.config else None
    # Late: a mistake in the configuration is answered before seconds of importing.
    from metarl.training.trainer import Trainer

    trainer = Trainer.start(config) if config else Trainer.resume(options.resume, overrides)
    try:
        stop = trainer.train()
    except (KeyboardInterrupt, BrokenPipeError, SystemExit) as error:
        # At once, in the middle of an iteration. rich turns a closed pipe into SystemExit.
        _say_how_to_go_on(trainer.run.path, " at once", " from the last checkpoint")
        if isinstance(error, KeyboardInterrupt):
            return 128 + signal.SIGINT
        raise
    if stop:
        _say_how_to_go_on(trainer.run.path)
    print(trainer.run.path)
    return 128 + stop.signal_number if stop.signal_number else 0


def _say_how_to_go_on(run: object, how: str = "", since: str = "") -> None:
    print(f"stopped{how}; go on{since} with `metarl train --resume {run}`", file=sys.stderr)


def _add_shorthands(
    overrides: dict[str, object],
    options: argparse.Namespace,
    section: str,
    names: Sequence[str],
    prefix: str = "",
) -> None:
    """Options such as `--seed` as overrides such as `run.seed`."""
    for name in names:
        value = getattr(options, prefix + name)
        if value is None:
            continue
        if f"{section}.{name}" in overrides:
            option = f"{prefix}{name}".replace("_", "-")
            raise UserError(f"command line: --{option} and --{section}.{name} are one; keep one")
        overrides[f"{section}.{name}"] = value


def _train_help(options: argparse.Namespace) -> str:
    return options.parser.format_help().rstrip()


def _evaluate(options: argparse.Namespace, dotted: list[str]) -> int:
    from rich.console import Console

    from metarl.config import kind_of_file, parse_overrides
    from metarl.continual.config import ContinualConfig
    from metarl.evaluation.curves import table
    from metarl.evaluation.run import evaluate_run
    from metarl.fewshot.config import FewShotConfig
    from metarl.training.run_folder import RunFolder

    overrides = parse_overrides(dotted)
    _refuse(overrides, _OF_EVALUATION + _OF_FEW_SHOT)
    kind = kind_of_file(RunFolder.open(options.folder).config_file)
    if kind is not FewShotConfig:
        _refuse(overrides, _OF_EVALUATION)
    names = ("split", "steps", "tasks", "episodes", "seed")
    _add_shorthands(overrides, options, "evaluation", names)
    _add_shorthands(overrides, options, "data", ("root",), "data_")
    console = Console(stderr=True)
    if kind is ContinualConfig:
        return _evaluate_continual(options.folder, overrides, console)
    if kind is FewShotConfig:
        return _evaluate_few_shot(options.folder, overrides, console)
    with console.status("adapting to held-out tasks") as status:
        curve, picture = evaluate_run(
            options.folder,
            overrides,
            lambda step: status.update(f"adapting to held-out tasks: {step} adaptation steps done"),
        )
    Console().print(table(curve))
    _evaluate_stages(options.folder, curve.details["iteration"], picture.parent)
    print(picture)
    return 0


def _evaluate_stages(folder: str, iteration: int, output: Path) -> None:
    """What a run on a sequence of task distributions keeps of them; nothing for other runs."""
    from rich.console import Console

    from metarl.continual.meta_stages import read_stages, save_stages, table

    returns = read_stages(folder, iteration)
    if returns is not None:
        path = save_stages(returns, output)
        Console().print(table(returns))
        print(path)


def _evaluate_continual(folder: str, overrides: dict[str, object], console: Any) -> int:
    from rich.console import Console

    from metarl.continual.evaluate import evaluate_continual, table
    from metarl.continual.summary import summarize

    if overrides:
        raise UserError(
            f"command line: {next(iter(overrides))} is for meta-RL runs; what a continual run "
            "measures, it measures while it trains"
        )
    with console.status("drawing what the run has measured"):
        record, path = evaluate_continual(folder)
    Console().print(table(summarize([record])))
    print(path)
    return 0


def _evaluate_few_shot(folder: str, overrides: dict[str, object], console: Any) -> int:
    from rich.console import Console
    from rich.text import Text

    from metarl.fewshot.results import captions, table
    from metarl.fewshot.run import evaluate_few_shot

    with console.status("evaluating") as status:
        result, picture = evaluate_few_shot(folder, overrides, status.update)
    # Text, because a protocol may have brackets, which rich takes for markup.
    Console().print(table(result), *map(Text, captions(result)), sep="\n")
    print(picture)
    return 0


def _compare(options: argparse.Namespace, dotted: list[str]) -> int:
    from metarl.continual.config import ContinualConfig
    from metarl.evaluation.compare import output_folder
    from metarl.evaluation.comparison.runs import find_runs, kind_of_runs
    from metarl.fewshot.config import FewShotConfig

    _refuse(dotted, ())
    runs = find_runs(options.folders)
    kind = kind_of_runs(runs)
    if kind is ContinualConfig and options.split is not None:
        raise UserError("--split is of meta-RL runs; these are continual runs, so leave it out")
    if kind is FewShotConfig and options.split == "ood":
        raise UserError("--split ood is of meta-RL runs; few-shot runs have test and validation")
    split = {} if kind is ContinualConfig else {"split": options.split or "test"}
    compare = importlib.import_module(kind.comparison)
    folder = output_folder(options.output, compare.is_part)
    with _status() as status:
        comparison = compare.load_comparison(
            runs,
            allow_mixed=options.allow_mixed,
            evaluate=options.evaluate,
            on_step=status.update,
            **split,
        )
        report = compare.write_comparison(comparison, folder, status.update)
    _show(options, report, compare.as_json(comparison), compare.terminal_tables(comparison))
    return 0


def _status() -> Any:
    from rich.console import Console

    return Console(stderr=True).status("reading runs")


def _show(options: argparse.Namespace, report: Any, tables: dict[str, Any], shown: Any) -> None:
    """A comparison as JSON, or for a terminal with the report's path last."""
    from rich.console import Console

    if options.json:
        print(json.dumps(tables | {"report": str(report)}, indent=1))
        return
    Console().print(*shown, sep="\n")
    print(report)


def _check(options: argparse.Namespace, dotted: list[str]) -> int:
    _refuse(dotted, ())
    if options.all == bool(options.families):
        raise UserError("give either NAMEs of families or --all; see `metarl check --help`")
    from metarl.conformance import report
    from metarl.tasks import names

    passed = report(names() if options.all else options.families, skip_unavailable=options.all)
    return 0 if passed else 1


def _benchmark(options: argparse.Namespace, dotted: list[str]) -> int:
    from metarl.config import parse_overrides

    overrides = parse_overrides(dotted)
    if options.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {options.jobs}")
    # Late, as everywhere: seconds of importing.
    from metarl.benchmark.command import describe, run_benchmark
    from metarl.benchmark.suite import plan, root_of

    root = root_of(options.suite, options.output)
    jobs = plan(options.suite, root, overrides)
    if options.dry_run:
        print("\n".join(describe(jobs)))
        return 0
    return run_benchmark(jobs, root, options.jobs, options.resume)


def _render(options: argparse.Namespace, dotted: list[str]) -> int:
    from rich.console import Console

    from metarl.config import parse_overrides

    overrides = parse_overrides(dotted)
    if (options.folder or options.family) is None:
        raise UserError("give a FAMILY or --run RUN; see `metarl render --help`")
    if options.folder is None and options.adaptation_step is not None:
        raise UserError("--adaptation-step needs a trained policy: give --run RUN too")
    trained = ("evaluation.", "run.threads", "run.device")
    _refuse(overrides, trained if options.folder else ("tasks.options.",))
    console = Console(stderr=True)
    with console.status("preparing") as status:
        # Late, as everywhere: seconds of importing.
        from metarl.evaluation.render import Film

        given = {name: getattr(options, name) for name in ("width", "height", "fps", "steps")}
        film = Film(
            options.output,
            on_step=lambda step: status.update(f"drawing: {step} time steps done"),
            **{name: value for name, value in given.items() if value is not None},
        )
        if options.folder:
            _render_trained(options, overrides, film)
        else:
            _render_random(options, overrides, film)
    print(options.output)
    return 0


def _render_trained(options: argparse.Namespace, overrides: dict[str, object], film: Any) -> None:
    from metarl.evaluation.render import choose_task, open_trained, render_trained

    _add_shorthands(overrides, options, "evaluation", ("seed",))
    experiment = open_trained(options.folder, options.family, overrides)
    seed = experiment.config.evaluation.seed
    task = choose_task(experiment.family, options.task, options.split, options.index, seed)
    step = 1 if options.adaptation_step is None else options.adaptation_step
    render_trained(experiment, task, film, step)


def _render_random(options: argparse.Namespace, overrides: dict[str, object], film: Any) -> None:
    from metarl.config import family_options
    from metarl.evaluation.render import choose_task, render_random
    from metarl.simulation.single_env import simulated_family

    family = simulated_family(options.family, family_options(options.family, overrides))
    seed = options.seed or 0
    task = choose_task(family, options.task, options.split, options.index, seed)
    render_random(family, task, film, seed)


def _refuse(overrides: Any, allowed: tuple[str, ...]) -> None:
    for key in overrides:
        if not key.startswith(allowed):
            known = (
                ", ".join(f"--{name}KEY" if name.endswith(".") else f"--{name}" for name in allowed)
                or "no dotted keys"
            )
            raise UserError(f"command line: {key} has no place here; this command takes {known}")
