"""One HTML file that holds a whole comparison of continual runs, and how to repeat it."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from html import escape

from metarl.config import flatten, to_yaml
from metarl.continual.comparison import SequenceComparison
from metarl.continual.results import Results
from metarl.continual.runs import ContinualRun
from metarl.continual.summary import METRICS
from metarl.continual.tables import HEADINGS, NAMES, cells
from metarl.evaluation import html
from metarl.evaluation.comparison_statistics import RESAMPLES

CAPTIONS = {
    "matrix": "The matrix R of each method at its best strength: return on the task of a column "
    "after the stage of a row, normalised (0: random actions, 1: from-scratch) and averaged over "
    "seeds; the task that a stage trains on is framed.",
    "performance": "Return on every task, a panel each, over the whole training: mean over seeds "
    "with its pointwise 95 % band, each method at its best strength; shaded where the panel's own "
    "task is trained on, dotted where the task changes; what falls below −1 is out of the picture.",
    "strengths": "Average performance, forgetting and forward transfer (or returns, where nothing "
    "can be normalised) of every strength λ, with 95 % bands; the level is fine-tuning, λ = 0.",
    "trade_off": "Forgetting F against forward transfer FT (AUC where FT is undefined): every "
    "method and strength with 95 % intervals, strengths of one method joined, the best one named; "
    "the upper left corner forgets nothing and learns fast.",
    "adaptation": "Return on the held-out task after 0, 1, ... PPO updates on it, starting from "
    "the policy before training and after each stage: mean over seeds with 95 % bands.",
    "plasticity": "What is left to learn with, before training and after each stage, with 95 % "
    "bands: share of hidden units that are dormant, stable rank of the last hidden layer's "
    "features, and L2 norm of the policy network's parameters.",
}

DEFINITIONS = {
    "R": "R[s][j] is the undiscounted return on task j, mean over episodes of one evaluation, "
    "before training (s = 0) or after stage s = 1..S. f_j and s_j are the first and the last stage "
    "that trains on j.",
    "Normalised return": "p[s][j] = (R[s][j] − random_j) / (scratch_j − random_j): random_j is the "
    "return of uniformly random actions, scratch_j the mean over all from-scratch learners of "
    "R[s_j][j]. Tasks on which they are no better than random actions are left out of all means.",
    "average_performance": "P = mean over j of p[S][j] (Wolczyk et al. 2021). Every distinct task "
    "counts once.",
    "forgetting": "F = mean over j of (p[s_j][j] − p[S][j]) (Wolczyk et al. 2021). The task of the "
    "last stage counts, with 0; exact zeros count; negative is an improvement.",
    "backward_transfer": "BWT = mean over j, but the task of the last stage, of (p[S][j] − "
    "p[s_j][j]) (Lopez-Paz & Ranzato 2017).",
    "auc": "AUC_s = mean over the iterations of stage s of the normalised training return; AUC is "
    "its mean over stages.",
    "auc_reference": "the AUC of the from-scratch learner of the same seed, identity and settings; "
    "without one, the mean over from-scratch learners.",
    "forward_transfer": "FT = mean over stages of (AUC_s − AUC_s^ref) / (1 − AUC_s^ref) (Wolczyk "
    "et al. 2021). It has no lower bound, so the two AUCs stand beside it; stages in which a "
    "from-scratch learner's AUC reaches 1 are left out of all three.",
    "zero_shot_transfer": "mean over j, but the task of the first stage, of (p[f_j − 1][j] − "
    "p[0][j]) (Lopez-Paz & Ranzato 2017).",
    "adaptation_gain": "return on the held-out task after n PPO updates on it minus before them, "
    "from the policy after the last stage; not normalised.",
    "adaptation_area": "mean height of that curve, by the trapezoidal rule; not normalised.",
    "dormant_units": "share of hidden units whose mean activity is at most 0.025 of their layer's "
    "mean (Sokar et al. 2023), after the last stage.",
    "stable_rank": "‖H‖_F² / ‖H‖_2² of the features H of the last hidden layer (Rudelson & "
    "Vershynin 2007), after the last stage.",
    "weight_norm": METRICS["weight_norm"] + ".",
    "final_return": "mean over j of R[S][j], not normalised.",
}
"""What stands in the tables, exactly; the formulas of `metarl.continual.metrics`."""
_VERSIONS = ("metarl", "mujoco", "torch", "gymnasium", "numpy", "python", "platform")


def report_html(
    comparison: Sequence[SequenceComparison], pictures: Mapping[tuple[str, str], bytes]
) -> str:
    """The report as HTML5.

    Args:
        comparison: what to report.
        pictures: SVG files by slug and name, a key of `CAPTIONS`; those missing are left out.
    """
    sections = [_sequence(each, pictures) for each in comparison]
    body = f"{_overview(comparison)}{''.join(sections)}{_definitions()}{_compare(comparison)}"
    return html.page("metarl comparison of continual runs", body)


def _overview(comparison: Sequence[SequenceComparison]) -> str:
    runs = sum(len(each.runs) for each in comparison)
    text = f"{html.count(runs, 'run', 'runs')}, "
    parts = [f"<p>{text}{html.count(len(comparison), 'sequence', 'sequences')}.</p>\n"]
    parts.append(html.warnings([text for each in comparison for text in each.warnings]))
    if len(comparison) > 1:
        links = "".join(
            f'<li><a href="#{each.slug}">{escape(each.title)}</a></li>\n' for each in comparison
        )
        parts.append(f"<ul>\n{links}</ul>\n")
    return "".join(parts)


def _sequence(each: SequenceComparison, pictures: Mapping[tuple[str, str], bytes]) -> str:
    results = each.results
    figures = [
        html.picture(pictures[each.slug, name], caption, each.title)
        for name, caption in CAPTIONS.items()
        if (each.slug, name) in pictures
    ]
    best = html.table(HEADINGS, [cells(line) for line in results.best])
    everything = html.table(HEADINGS, [cells(line) for line in results.lines])
    parts = [
        f'<h2 id="{each.slug}">{escape(each.title)}</h2>\n<p>{escape(_protocol(results))}.</p>\n',
        html.bullets(each.remarks),
        "<p>Every method at its best strength: mean over seeds [95 % interval].</p>\n",
        best,
        html.details("Every strength", everything)
        if len(results.lines) > len(results.best)
        else "",
        *figures,
        _tasks(results),
        _settings(each.runs),
        _commands(each),
        _versions(each.runs),
    ]
    return "".join(parts)


def _protocol(results: Results) -> str:
    sequence, record = results.sequence, results.records[0]
    learners = html.count(sum(len(line.learners) for line in results.lines), "learner", "learners")
    stages = html.count(len(sequence.stages), "stage", "stages")
    return (
        f"{learners}; {stages} of {sequence.iterations} iterations with {sequence.episodes} "
        f"episodes of {sequence.horizon} time steps; every return is a mean over "
        f"{record.evaluation_episodes} episodes"
    )


def _tasks(results: Results) -> str:
    sequence, scale = results.sequence, results.summary
    records = [
        (
            task.name,
            ", ".join(str(s + 1) for s, t in enumerate(sequence.stages) if t == index),
            f"{scale.random[index]:.4g}",
            f"{scale.scratch[index]:.4g}" if results.is_normalized else "–",
            json.dumps(html.rounded(task.parameters)),
        )
        for index, task in enumerate(sequence.tasks)
    ]
    held_out = sequence.held_out
    if held_out is not None:
        shown = json.dumps(html.rounded(held_out.parameters))
        records.append((held_out.name, "held out", "–", "–", shown))
    headings = ("task", "stages", "random actions", "from-scratch", "parameters")
    note = (
        f"<p>Family <code>{escape(sequence.family)}</code>, sequence "
        f"<code>{escape(sequence.hash)}</code>. Returns that are 0 and 1 after normalisation stand "
        "beside each task.</p>\n"
    )
    return html.details("Tasks and their parameters", note + html.table(headings, records, "text"))


def _settings(runs: Sequence[ContinualRun]) -> str:
    """The settings of the learners, a column for each run."""
    flat = [flatten(run.record.algorithm, "algorithm.") for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    records = [
        (key, *(json.dumps(each[key]) if key in each else "–" for each in flat)) for key in keys
    ]
    headings = ("setting", *(str(run.path) for run in runs))
    return html.details("Settings", html.table(headings, records, "text"))


def _commands(each: SequenceComparison) -> str:
    parts = ["<p>Save a configuration under the name in its commands.</p>\n"]
    for run in each.runs:
        name = _name(run, each)
        lines = [
            f"metarl train {shlex.quote(name + '.yaml')} --output {shlex.quote(name)}",
            f"metarl evaluate {shlex.quote(name)}",
        ]
        text = "\n".join(lines)
        inner = f"<pre>{escape(text)}</pre>\n<pre>{escape(to_yaml(run.config))}</pre>\n"
        parts.append(html.details(str(run.path), inner))
    return html.details("Commands and configurations", "".join(parts))


def _compare(comparison: Sequence[SequenceComparison]) -> str:
    names = [shlex.quote(_name(run, each)) for each in comparison for run in each.runs]
    command = f"metarl compare {' '.join(names)}"
    return (
        f"<h2>The same comparison</h2>\n<p>After the commands of every run:</p>\n"
        f"<pre>{escape(command)}</pre>\n"
    )


def _name(run: ContinualRun, each: SequenceComparison) -> str:
    """A name for the run that no other run has."""
    base = re.sub(r"[^\w.-]+", "_", f"{each.slug}_{run.record.identity}_seed{run.record.seed}")
    index = each.runs.index(run)
    alike = sum(
        (other.record.identity, other.record.seed) == (run.record.identity, run.record.seed)
        for other in each.runs
    )
    return base if alike == 1 else f"{base}_{index + 1}"


def _versions(runs: Sequence[ContinualRun]) -> str:
    records = [
        (
            str(run.path),
            str(run.record.seed),
            str(run.record.iteration),
            f"{run.record.environment_steps:,}",
            *(str(run.record.versions.get(name, "–")) for name in _VERSIONS),
        )
        for run in runs
    ]
    headings = ("run", "seed", "iterations", "environment steps of all learners", *_VERSIONS)
    return html.details("Runs and versions", html.table(headings, records, "text"))


def _definitions() -> str:
    items = "".join(
        f"<li><b>{escape(NAMES.get(name, name))}</b>: {escape(text)}</li>\n"
        for name, text in DEFINITIONS.items()
    )
    return (
        f'<h2 id="definitions">What the numbers are</h2>\n<ul>\n{items}'
        "<li><b>Intervals</b>: 95 % percentile bootstrap of the mean over seeds, of these very "
        f"tasks; {RESAMPLES:,} resamples in pictures, 10,000 in tables. From few seeds they are "
        "too narrow rather than too wide. No correction for multiple comparisons.</li>\n"
        "<li><b>Best strength</b>: the one with the highest average performance on these very "
        "runs, so its numbers are a little too good; by the return at the end where nothing can be "
        "normalised.</li>\n</ul>\n"
    )
