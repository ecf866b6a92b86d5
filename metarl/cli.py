"""The command line: `metarl list`, `metarl train`, `metarl evaluate`."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from metarl.errors import UserError

DESCRIPTION = "Meta-reinforcement learning: train on task distributions, evaluate adaptation."

TRAIN_EPILOG = """\
Every setting of CONFIG can be changed by its dotted key, after CONFIG:
  metarl train configs/point_navigation/maml_trpo.yaml --run.iterations 50
`metarl train CONFIG --help` lists all keys of that configuration with their values.
Ctrl-C finishes the iteration, writes a checkpoint and leaves a run that --resume continues.
The last line printed is the run folder."""

EVALUATE_EPILOG = """\
Writes RUN/evaluation/SPLIT.json, .csv and .png, and prints the adaptation table.
Options that are not given keep the values of the run's configuration. Learning rates per step:
  metarl evaluate RUN --evaluation.inner_learning_rates 0.1 0.05"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 when done, 2 for a mistake of the user, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.exit(_run(words))
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
    plain, dotted = _split_overrides(words)
    options = _parser().parse_args(plain)
    return options.run(options, dotted)


def _split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Dotted options with their values, apart from all other words."""
    plain: list[str] = []
    dotted: list[str] = []
    current = plain
    for word in words:
        if word.startswith("--"):
            current = dotted if "." in word.partition("=")[0] else plain
        current.append(word)
    return plain, dotted


class _Parser(argparse.ArgumentParser):
    """Answers a mistake with one line."""

    def __init__(self, **settings: Any):
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="metarl", description=DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="families and algorithms, one line each")
    listing.add_argument("--json", action="store_true", help="everything, as one JSON object")
    listing.set_defaults(run=_list)

    train = commands.add_parser(
        "train", help="meta-train, or go on with a run", epilog=TRAIN_EPILOG, add_help=False
    )
    train.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="a preset, see configs/")
    train.add_argument("--resume", metavar="RUN", help="go on with this run folder instead")
    train.add_argument("--seed", type=int, metavar="N", help="seed of everything random")
    train.add_argument("--output", metavar="DIR", help="run folder; default: a new one in runs/")
    train.add_argument("-h", "--help", action="store_true", help="this text, or CONFIG's settings")
    train.set_defaults(run=_train, parser=train)

    evaluate = commands.add_parser(
        "evaluate", help="adaptation curve on held-out tasks", epilog=EVALUATE_EPILOG
    )
    evaluate.add_argument("folder", metavar="RUN", help="run folder, as printed by train")
    evaluate.add_argument("--split", choices=("test", "validation", "ood"), help="list of tasks")
    for name, text in (
        ("steps", "adaptation steps"),
        ("tasks", "tasks, from the start of the list"),
        ("episodes", "episodes of each task per step"),
        ("seed", "seed of resets and action noise"),
    ):
        evaluate.add_argument(f"--{name}", type=int, metavar="N", help=text)
    evaluate.set_defaults(run=_evaluate)
    return parser


def _list(options: argparse.Namespace, dotted: list[str]) -> int:
    from metarl.listing import as_json, as_text

    _refuse(dotted, ())
    print(json.dumps(as_json(), indent=1) if options.json else as_text())
    return 0


def _train(options: argparse.Namespace, dotted: list[str]) -> int:
    from metarl.config import describe, load_config, parse_overrides
    from metarl.training.trainer import Trainer

    if options.help:
        print(describe(load_config(options.config)) if options.config else _train_help(options))
        return 0
    overrides = parse_overrides(dotted)
    if options.seed is not None:
        overrides["run.seed"] = options.seed
    if options.output is not None:
        overrides["run.output"] = options.output
    if (options.config is None) == (options.resume is None):
        raise UserError("give either CONFIG.yaml or --resume RUN; see `metarl train --help`")
    if options.resume is not None:
        trainer = Trainer.resume(options.resume, overrides)
    else:
        trainer = Trainer.start(load_config(options.config, overrides))
    stop = trainer.train()
    if stop:
        print(f"stopped; go on with `metarl train --resume {trainer.run.path}`", file=sys.stderr)
    print(trainer.run.path)
    return 128 + stop.signal_number if stop.signal_number else 0


def _train_help(options: argparse.Namespace) -> str:
    return options.parser.format_help().rstrip()


def _evaluate(options: argparse.Namespace, dotted: list[str]) -> int:
    from rich.console import Console

    from metarl.config import parse_overrides
    from metarl.evaluation.curves import table
    from metarl.evaluation.run import evaluate_run

    overrides = parse_overrides(dotted)
    _refuse(overrides, ("evaluation.", "run.threads", "run.device"))
    for name in ("split", "steps", "tasks", "episodes", "seed"):
        value = getattr(options, name)
        if value is not None:
            overrides[f"evaluation.{name}"] = value
    console = Console(stderr=True)
    with console.status("adapting to held-out tasks") as status:
        curve, picture = evaluate_run(
            options.folder,
            overrides,
            lambda step: status.update(f"adapting to held-out tasks: {step} adaptation steps done"),
        )
    Console().print(table(curve))
    print(picture)
    return 0


def _refuse(overrides: Any, allowed: tuple[str, ...]) -> None:
    for key in overrides:
        if not key.startswith(allowed):
            known = ", ".join(allowed) or "no dotted keys"
            raise UserError(f"command line: {key} has no place here; this command takes {known}")
