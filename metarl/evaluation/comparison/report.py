"""One HTML file that holds a whole comparison: no script, no style sheet, no picture elsewhere."""

import inspect
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from metarl.config import to_yaml
from metarl.errors import UserError
from metarl.evaluation import html
from metarl.evaluation.comparison.compared import Comparison, FamilyComparison
from metarl.evaluation.comparison.learners import LearnerResult, differing_settings
from metarl.evaluation.comparison.runs import EvaluatedRun
from metarl.evaluation.comparison.tables import (
    HEADINGS,
    cells,
    number,
    order_summary,
    parameters,
    with_interval,
)
from metarl.evaluation.comparison_statistics import RESAMPLES
from metarl.tasks import TaskDistribution, make

CAPTIONS = {
    "curves": "Adaptation: interquartile mean over seeds and tasks with its 95 % interval, over "
    "adaptation steps and over the environment steps that each learner spent on a task.",
    "final": "After the last adaptation step: interquartile mean, and mean of the worst fifth of "
    "tasks, with 95 % intervals.",
    "profile": "Performance profile after the last step: the fraction of runs and tasks whose "
    "return exceeds τ, with a pointwise 95 % band.",
    "improvement": "Probability that the learner of a row returns more than that of a column on "
    "a task, averaged over tasks.",
    "training": "Training: return after adaptation on training tasks over environment steps; "
    "each seed thin, their mean thick.",
}

METHODS = f"""
<h2 id="methods">How the numbers were made</h2>
<ul>
<li><b>Return</b>: undiscounted, of whole episodes, averaged over the episodes of a task.</li>
<li><b>Adaptation step 0</b> is before any adaptation. A point of a curve costs the environment
steps of all points before it; episodes that only evaluate are not counted.</li>
<li><b>IQM</b>: interquartile mean, the mean of the middle half of all seed × task values (Agarwal
et al. 2021).</li>
<li><b>Intervals</b>: 95 % percentile bootstrap, {RESAMPLES:,} resamples. Every resample draws whole
training seeds and tasks with replacement: a seed of a meta-learner is one training run, seen on
all tasks, so its luck stays in the interval. With one seed only tasks are drawn. Where a family
has finitely many tasks, all of them stay in every resample. Two learners share their drawn tasks
in differences and probabilities of improvement. No correction for multiple comparisons.</li>
<li><b>Adaptation gain</b>: mean return after the first step minus before it; <b>final gain</b>:
after the last step minus before the first.</li>
<li><b>Worst 20 %</b>: mean of the lowest fifth of the seed × task values after the last step
(conditional value at risk).</li>
<li><b>Probability of improvement</b>: how often a run of one learner exceeds a run of the other on
the same task, ties as a half, averaged over tasks. The second matrix takes both at the most
environment steps per task that both of a pair spent, on straight lines between the points of each
curve; a learner without adaptation steps counts as a level.</li>
<li><b>Performance profile</b>: over raw returns, which tasks of one family share; no
normalisation of scores.</li>
</ul>
"""


def report_html(comparison: Comparison, pictures: Mapping[tuple[str, str], bytes]) -> str:
    """The report as HTML5.

    Args:
        comparison: what to report.
        pictures: SVG files by slug and name, a key of `CAPTIONS`; those missing are left out.
    """
    title = f"metarl comparison, {comparison.split} tasks"
    sections = [_family(family, pictures) for family in comparison.families]
    return html.page(title, f"{_overview(comparison)}{''.join(sections)}{METHODS}")


def _overview(comparison: Comparison) -> str:
    families = comparison.families
    runs = sum(len(family.runs) for family in families)
    parts = [f"<p>{runs} runs, {html.count(len(families), 'family', 'families')}.</p>\n"]
    parts.append(html.warnings([text for family in families for text in _named(family, families)]))
    if len(families) > 1:
        links = "".join(
            f'<li><a href="#{family.slug}">{escape(family.name)}</a>: best '
            f"{escape(family.learners[0].label)}</li>\n"
            for family in families
        )
        parts.append(f"<ul>\n{links}</ul>\n")
    return "".join(parts)


def _named(family: FamilyComparison, families: Sequence[FamilyComparison]) -> list[str]:
    """The family's warnings, which name it where there are several."""
    prefix = f"{family.name}: " if len(families) > 1 else ""
    return [prefix + text for text in family.warnings]


def _family(family: FamilyComparison, pictures: Mapping[tuple[str, str], bytes]) -> str:
    first = family.runs[0]
    protocol = (
        f"{len(first.curve.returns)} tasks × {first.protocol['episodes per task']} episodes of "
        f"{first.protocol['horizon']} time steps, {html.count(len(family.runs), 'run', 'runs')}"
    )
    parts = [
        f'<h2 id="{family.slug}">{escape(family.name)}</h2>\n<p>{escape(protocol)}.</p>\n',
        html.table(HEADINGS, [cells(learner) for learner in family.learners]),
        html.bullets(family.remarks),
        _order(family),
        *(_figure(name, family, pictures.get((family.slug, name))) for name in CAPTIONS),
        _improvements(family),
        _differences(family),
        _task_definition(family),
        _per_task(family),
        _commands(family),
        _versions(family),
    ]
    return "".join(parts)


def _order(family: FamilyComparison) -> str:
    summary = f"<p>{escape(order_summary(family).capitalize())}.</p>\n"
    if not family.order:
        return summary
    records = [
        (
            f"{check.upper.label} ≥ {check.lower.label}",
            f"{check.upper.role} ≥ {check.lower.role}",
            with_interval(check.difference),
            check.verdict,
        )
        for check in sorted(family.order, key=lambda check: check.difference.value)
    ]
    table = html.table(
        ("expected", "roles", "difference of IQM [95 %]", "verdict"), records, "text"
    )
    return summary + html.details("All pairs of the expected order", table)


def _improvements(family: FamilyComparison) -> str:
    if not family.improvements:
        return ""
    records = [
        (
            pair.first.label,
            pair.second.label,
            with_interval(pair.last),
            with_interval(pair.common),
            "–" if pair.environment_steps is None else f"{pair.environment_steps:,.0f}",
        )
        for pair in family.improvements
    ]
    headings = (
        "first",
        "second",
        "P(first > second) after the last step [95 %]",
        "at equal environment steps [95 %]",
        "which are",
    )
    return html.details(
        "Probabilities of improvement with intervals", html.table(headings, records)
    )


def _differences(family: FamilyComparison) -> str:
    tables = differing_settings(family.learners)
    parts = []
    for algorithm, settings in tables.items():
        labels = [each.label for each in family.learners if each.algorithm == algorithm]
        records = [(key, *values) for key, values in settings.items()]
        parts.append(html.table(("setting", *labels), records))
    return html.details("Settings in which learners of one name differ", "".join(parts))


def _task_definition(family: FamilyComparison) -> str:
    run = family.runs[0]
    hashes = ", ".join(dict.fromkeys(str(each.protocol["task list"]) for each in family.runs))
    split = run.curve.details.get("split", "")
    known = f"<p>Task list {escape(split)}, hash <code>{escape(hashes)}</code>.</p>\n"
    try:
        made = make(run.config.tasks.family, **run.config.tasks.options)
    except (UserError, ImportError) as error:
        return html.details(
            "Task definition", known + f"<p>Its definition is not here: {escape(str(error))}</p>\n"
        )
    contract = inspect.cleandoc(type(made).__doc__ or "")
    records = [(name, *texts) for name, texts in _ranges(made).items()]
    headings = ("task parameter", "training", "validation", "test", "ood")
    content = f"{known}{html.table(headings, records)}<pre>{escape(contract)}</pre>\n"
    return html.details("Task definition", content)


def _ranges(family: TaskDistribution) -> dict[str, list[str]]:
    """The range of each parameter in training and in the fixed lists."""
    lists = [getattr(family, f"{name}_parameters") for name in ("validation", "test", "ood")]
    found = {}
    for name, parameter in family.parameters.items():
        others = [str(each[name]) if name in each else "as in training" for each in lists]
        if not family.ood_parameters:
            others[-1] = "–"
        found[name] = [str(parameter), *others]
    return found


def _per_task(family: FamilyComparison) -> str:
    parts = []
    for learners in _same_tasks(family):
        details = learners[0].runs[0].curve.details
        records = []
        for task in range(learners[0].returns.shape[1]):
            values = [each.returns[:, task] for each in learners]
            texts = [f"{number(v[:, 0].mean())} → {number(v[:, -1].mean())}" for v in values]
            shown = json.dumps(html.rounded(parameters(details, task)))
            records.append((str(task), shown, *texts))
        headings = ("task", "parameters", *(each.label for each in learners))
        parts.append(html.table(headings, records))
    note = "<p>Return before and after all adaptation steps, mean over seeds.</p>\n"
    return html.details("Every task", note + "".join(parts))


def _same_tasks(family: FamilyComparison) -> list[list[LearnerResult]]:
    """Learners that were evaluated on the same tasks, together."""
    found: dict[tuple[Any, ...], list[LearnerResult]] = {}
    for learner in family.learners:
        run = learner.runs[0]
        key = run.config.tasks.family, run.protocol["task list"], learner.returns.shape[1]
        found.setdefault(key, []).append(learner)
    return list(found.values())


def _commands(family: FamilyComparison) -> str:
    note = (
        "<p>Save a configuration under the name in its commands. The evaluation repeats the "
        "one that is compared here.</p>\n"
    )
    parts = [note]
    for learner in family.learners:
        name = re.sub(r"[^\w.-]+", "_", f"{family.slug}_{learner.label}").strip("_")
        lines = [line for run in learner.runs for line in _run_commands(run, name)]
        text = to_yaml(learner.runs[0].config)
        inner = f"<pre>{escape(chr(10).join(lines))}</pre>\n<pre>{escape(text)}</pre>\n"
        parts.append(html.details(learner.label, inner))
    return html.details("Commands and configurations", "".join(parts))


def _run_commands(run: EvaluatedRun, name: str) -> list[str]:
    folder = shlex.quote(f"{name}/seed{run.seed}")
    config, details = run.config, run.curve.details
    train = f"metarl train {shlex.quote(name + '.yaml')} --seed {run.seed} --output {folder}"
    train += f" --run.iterations {config.run.iterations}"
    if config.run.environment_steps is not None:
        train += f" --run.environment_steps {config.run.environment_steps}"
    evaluate = (
        f"metarl evaluate {folder} --split {details.get('split')} "
        f"--steps {run.curve.steps[-1]} --tasks {len(run.curve.returns)} "
        f"--episodes {details['episodes']} --seed {details.get('evaluation_seed', 0)}"
    )
    rates = details.get("inner_learning_rates")
    if rates:
        evaluate += f" --evaluation.inner_learning_rates {' '.join(map(str, rates))}"
    return [train, evaluate]


def _versions(family: FamilyComparison) -> str:
    names = ("metarl", "mujoco", "torch", "gymnasium", "numpy", "python", "platform")
    records = [
        (
            str(run.path),
            learner.label,
            str(run.seed),
            str(run.curve.details.get("iteration", "–")),
            f"{run.training_steps:,}",
            *(str(run.versions.get(name, "–")) for name in names),
        )
        for learner in family.learners
        for run in learner.runs
    ]
    headings = ("run", "learner", "seed", "iterations", "environment steps", *names)
    return html.details("Runs and versions", html.table(headings, records, "text"))


def _figure(name: str, family: FamilyComparison, svg: bytes | None) -> str:
    return html.picture(svg, CAPTIONS[name], family.name) if svg else ""
