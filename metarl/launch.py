"""Training every preset of some families for a list of seeds: what the scripts have in common."""

import fnmatch
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from metarl.cli import Parser, exit_with, split_overrides
from metarl.config import load_config, parse_overrides
from metarl.errors import UserError, nearest
from metarl.jobs import Job, all_presets
from metarl.training.run_folder import RunFolder

EPILOG = """\
Each run goes to OUTPUT/PRESET/seedN and is evaluated when it is trained. A mistake in one run does
not stop the others; they are listed at the end. Dotted keys change every run:
  ... --run.iterations 50 --policy.hidden_sizes 32 32
Ctrl-C leaves all runs resumable: the same command with --resume skips what is done."""


def find_presets(configs: Path, pattern: str | Sequence[str]) -> dict[str, Path]:
    """Presets below the folders of `configs` that match a pattern, by `FOLDER/NAME`."""
    patterns = [f"{each}/*" for each in _as_list(pattern)]
    return {
        name: path
        for name, path in all_presets(configs).items()
        if any(fnmatch.fnmatch(name, each) for each in patterns)
    }


def launch(
    configs: Path,
    pattern: str | Sequence[str],
    description: str,
    arguments: Sequence[str] | None = None,
    name: str | None = None,
) -> NoReturn:
    """The command line of a launcher; exits 0 when every run is trained and evaluated.

    Args:
        configs: folder of the presets, `configs/FOLDER/NAME.yaml`.
        pattern: of the folders that belong to the launcher, e.g. `half_cheetah*`, or several.
        description: first line of the help.
        arguments: by default those of the process.
        name: of the folder below `runs` that the runs go to; by default from the first pattern.
    """
    words = sys.argv[1:] if arguments is None else arguments
    folder = name or _as_list(pattern)[0].rstrip("*_")
    exit_with(lambda: _launch(find_presets(configs, pattern), folder, description, words))


def _as_list(pattern: str | Sequence[str]) -> list[str]:
    return [pattern] if isinstance(pattern, str) else list(pattern)


def _launch(
    presets: Mapping[str, Path], folder: str, description: str, words: Sequence[str]
) -> int:
    plain, dotted = split_overrides(words)
    options = _parser(folder, description).parse_args(plain)
    if options.list:
        print("\n".join(presets))
        return 0
    chosen = {name: _preset(name, presets) for name in options.presets or presets}
    overrides = parse_overrides(dotted)
    jobs = list(_plan(chosen, dict.fromkeys(options.seeds), overrides, Path(options.output)))
    used = [str(job.run.path) for job in jobs if job.exists]
    if used and not options.resume:
        raise UserError(
            f"{used[0]} holds a run already; add --resume to go on with what is there, "
            "or choose another --output"
        )
    return _train_all(jobs)


def _parser(name: str, description: str) -> Parser:
    parser = Parser(description=description, epilog=EPILOG)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="N", help="default: 1")
    parser.add_argument("--presets", nargs="+", metavar="PRESET", help="default: all, see --list")
    parser.add_argument("--output", default=f"runs/{name}", help="default: %(default)s")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in OUTPUT")
    parser.add_argument("--list", action="store_true", help="show the presets, and train nothing")
    return parser


def _preset(name: str, presets: Mapping[str, Path]) -> Path:
    if name not in presets:
        raise UserError(f"unknown preset {name!r}; {nearest(name, presets)}")
    return presets[name]


def _plan(
    presets: Mapping[str, Path], seeds: Mapping[int, None], overrides: Mapping[str, Any], root: Path
) -> Iterator[Job]:
    for key, option in (("run.seed", "--seeds"), ("run.output", "--output")):
        if key in overrides:
            raise UserError(f"command line: {key} differs from run to run; give {option}")
    for name, path in presets.items():
        for seed in seeds:
            folder = root / name / f"seed{seed}"
            own = {**overrides, "run.seed": seed, "run.output": str(folder)}
            yield Job(name, load_config(path, own), RunFolder(folder))


def _train_all(jobs: Sequence[Job]) -> int:
    console = Console()
    failures = []
    for number, job in enumerate(jobs, start=1):
        console.rule(f"{number}/{len(jobs)} · {job.preset} · seed {job.config.run.seed}")
        try:
            signal_number = _train(job, console)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failures.append(job.run.path)
            continue
        except KeyboardInterrupt:  # in an evaluation, or pressed twice
            signal_number = signal.SIGINT
        if signal_number:
            print("stopped; the same command with --resume goes on", file=sys.stderr)
            return 128 + signal_number
    if failures:
        names = ", ".join(map(str, failures))
        raise UserError(f"{len(failures)} of {len(jobs)} runs failed, see above: {names}")
    return 0


def _train(job: Job, console: Console) -> int | None:
    """Train and evaluate, as far as that is not done; the number of the signal that stopped it."""
    signal_number = job.train(console)
    if signal_number:
        return signal_number
    console.print(job.table(job.evaluate()))
    print(job.run.path)
    return None
