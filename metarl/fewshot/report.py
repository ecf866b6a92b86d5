"""One HTML file that holds a whole comparison of few-shot runs, and how to repeat it."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from metarl.config import to_yaml
from metarl.evaluation import html
from metarl.evaluation.comparison_statistics import RESAMPLES
from metarl.fewshot.compare import cells, headings, protocol
from metarl.fewshot.comparison import (
    FewShotComparison,
    FewShotRun,
    changed_settings,
    evaluate_command,
)
from metarl.fewshot.published import CONFIDENCE

CAPTIONS = {
    "scores": "Score of each method after its last adaptation step with its 95 % interval, beside "
    "what was published of it.",
    "steps": "Score over adaptation steps with pointwise 95 % bands; methods without steps are in "
    "the table alone.",
    "calibration": "Calibration of the first run of each method: on the dashed line what a method "
    "is sure of comes true as often as it says; bins with less than 0.1 % of the queries are left "
    "out.",
}
"""Of the pictures, in their order."""
DEFINITIONS = {
    "Accuracy": "share of an episode's queries whose most probable class is right, a mean over "
    "episodes.",
    "Mean squared error": "mean over an episode's query points, then over episodes.",
    "NLL": "negative log-likelihood of a query's target, in nats, of the normal predicted for a "
    "curve or of the class probabilities.",
    "Calibration error": "of classes: mean over 15 bins of confidence of |accuracy − confidence|, "
    "weighted by the share of queries (Guo et al. 2017); of curves: mean over 19 central intervals "
    "of |share of queries inside − its probability|.",
    "Intervals": f"95 % percentile bootstrap, {RESAMPLES:,} resamples, of whole seeds and "
    "episodes; with one seed of episodes alone. No correction for multiple comparisons.",
    "BatchNorm": "transductive: statistics of the examples that are predicted together, so that "
    "queries see each other; support: those of the support set; running: averages of training.",
    "Published": "only figures that could be confirmed, on their authors' own splits; "
    + "; ".join(f"{name}: {text}" for name, text in CONFIDENCE.items())
    + ".",
}
"""What stands in the tables, exactly."""
_VERSIONS = ("metarl", "torch", "numpy", "python", "platform")


def report_html(
    comparison: Sequence[FewShotComparison], pictures: Mapping[tuple[str, str], bytes]
) -> str:
    """The report as HTML5.

    Args:
        comparison: what to report.
        pictures: SVG files by slug and name, a key of `CAPTIONS`; those missing are left out.
    """
    names = _names(comparison)
    sections = "".join(_section(each, pictures, names) for each in comparison)
    body = f"{_overview(comparison)}{sections}{_definitions()}{_compare(comparison, names)}"
    return html.page("metarl comparison of few-shot runs", body)


def _overview(comparison: Sequence[FewShotComparison]) -> str:
    runs = len({run.path for each in comparison for run in each.runs})
    problems = html.count(len(comparison), "problem", "problems")
    parts = [f"<p>{html.count(runs, 'run', 'runs')}, {problems}.</p>\n"]
    parts.append(html.warnings([text for each in comparison for text in each.warnings]))
    if len(comparison) > 1:
        links = "".join(
            f'<li><a href="#{each.slug}">{escape(each.title)}</a></li>\n' for each in comparison
        )
        parts.append(f"<ul>\n{links}</ul>\n")
    return "".join(parts)


def _section(
    each: FewShotComparison,
    pictures: Mapping[tuple[str, str], bytes],
    names: Mapping[Path, str],
) -> str:
    figures = [
        html.picture(pictures[each.slug, name], caption, each.title)
        for name, caption in CAPTIONS.items()
        if (each.slug, name) in pictures
    ]
    parts = [
        f'<h2 id="{each.slug}">{escape(each.title)}</h2>\n<p>{escape(protocol(each))}.</p>\n',
        html.bullets(each.remarks),
        html.table(headings(each), [cells(each, method) for method in each.methods]),
        *figures,
        _settings(each),
        _commands(each, names),
        _versions(each.runs),
    ]
    return "".join(parts)


def _settings(each: FewShotComparison) -> str:
    """The settings of the methods, a column for each."""
    runs = [method.runs[0] for method in each.methods]
    flat = [run.settings for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    records = [
        (key, *(json.dumps(settings[key]) if key in settings else "–" for settings in flat))
        for key in keys
    ]
    names = ("setting", *(method.label for method in each.methods))
    return html.details("Settings", html.table(names, records, "text"))


def _commands(each: FewShotComparison, names: Mapping[Path, str]) -> str:
    """How to repeat every run of a section, with its evaluation on the episodes of this section."""
    parts = ["<p>Save a configuration under the name in its commands.</p>\n"]
    for run in each.runs:
        name = names[run.path]
        lines = [
            f"metarl train {shlex.quote(name + '.yaml')} --output {shlex.quote(name)}",
            evaluate_command(name, changed_settings(run.config, run.result)),
        ]
        text = "\n".join(lines)
        inner = f"<pre>{escape(text)}</pre>\n<pre>{escape(to_yaml(run.config))}</pre>\n"
        parts.append(html.details(str(run.path), inner))
    return html.details("Commands and configurations", "".join(parts))


def _compare(comparison: Sequence[FewShotComparison], names: Mapping[Path, str]) -> str:
    words = [shlex.quote(name) for name in names.values()]
    splits = {
        run.result.details.get("evaluation", {}).get("split", "test")
        for each in comparison
        for run in each.runs
    }
    words += [f"--split {split}" for split in splits - {"test"}]
    return (
        "<h2>The same comparison</h2>\n<p>After the commands of every run:</p>\n"
        f"<pre>{escape('metarl compare ' + ' '.join(words))}</pre>\n"
    )


def _names(comparison: Sequence[FewShotComparison]) -> dict[Path, str]:
    """A name for every run that no other run has; a run of several sections has one."""
    found: dict[Path, str] = {}
    for each in comparison:
        for method in each.methods:
            for run in method.runs:
                if run.path not in found:
                    text = f"{each.slug}_{method.label}_seed{run.config.run.seed}"
                    base = re.sub(r"[^\w.-]+", "_", text).strip("_")
                    taken = sum(re.sub(r"__\d+$", "", name) == base for name in found.values())
                    found[run.path] = f"{base}__{taken + 1}" if taken else base
    return found


def _versions(runs: Sequence[FewShotRun]) -> str:
    records = [
        (
            str(run.path),
            str(run.config.run.seed),
            f"{run.result.details.get('iteration', 0):,}",
            *(str(run.result.details.get("versions", {}).get(name, "–")) for name in _VERSIONS),
        )
        for run in runs
    ]
    names = ("run", "seed", "iterations", *_VERSIONS)
    return html.details("Runs and versions", html.table(names, records, "text"))


def _definitions() -> str:
    items = "".join(
        f"<li><b>{escape(name)}</b>: {escape(text)}</li>\n" for name, text in DEFINITIONS.items()
    )
    return f'<h2 id="definitions">What the numbers are</h2>\n<ul>\n{items}</ul>\n'
