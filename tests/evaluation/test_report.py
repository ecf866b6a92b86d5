"""The report: valid HTML in one file, with the numbers, definitions and commands; its pictures."""

import inspect
import os
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from metarl.config import load_config
from metarl.evaluation.compare import compare, load_comparison
from metarl.evaluation.comparison.pictures import curves, learner_styles, pictures
from metarl.tasks.registry import family_class
from tests.evaluation.comparison_runs import TASK_LIST, make_run, noisy

VOID = {"meta", "link", "img", "br", "hr", "input"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
# All that an evaluation may hold: learners, baselines, two of one name, levels.
LEVELS = {
    "maml_trpo": -25,
    "maml_ppo": -30,
    "promp": -28,
    "meta_sgd": -22,
    "cavia": -35,
    "reptile_ppo": -33,
    "rl2_ppo": -20,
    "ppo_from_scratch": -70,
    "multi_task_ppo": -29,
    "oracle_ppo": -12,
    "random": -300,
}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects what a test asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute of <{tag}> stands there twice"
        self.references += [values[name] or "" for name in ("src", "href") if name in values]
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag == "img":
            assert values.get("alt")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def make_learners(folder: Path) -> None:
    for name, level in LEVELS.items():
        steps = 0 if name in ("oracle_ppo", "random") else 3
        spent = (100.0 if name == "rl2_ppo" else 2000.0) * np.arange(steps + 1)
        for seed in (1, 2):
            returns = noisy(level, steps=steps, seed=seed)
            make_run(
                folder / name / str(seed),
                returns,
                algorithm=name,
                seed=seed,
                environment_steps=spent,
                metrics=name != "random",
            )
    make_run(folder / "first_order", noisy(-27), settings={"first_order": True})


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A comparison of twelve learners on one family, and of one on another."""
    folder = tmp_path_factory.mktemp("comparison")
    make_learners(folder / "runs")
    make_run(folder / "bandit", family="BernoulliBandit-v0", options={"arms": 5})
    return compare([folder / "runs", folder / "bandit"], folder / "out")


@pytest.fixture(scope="module")
def page(report) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def test_the_report_is_one_file_without_scripts(page, report):
    text = report.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    for reference in page.references:
        assert reference.startswith(("data:", "#"))
        assert reference[0] != "#" or reference[1:] in page.ids
    assert not re.search(r"url\(|@import|https?://", re.sub(r'src="data:[^"]+"', "", text))


def test_pictures_are_inside_as_vectors_and_beside_as_files(page, report):
    images = [each for each in page.references if each.startswith("data:image/svg+xml;base64,")]
    assert len(images) == 5 + 4  # one learner improves on no other
    names = {path.name for path in report.parent.iterdir()}
    for name in ("curves", "final", "profile", "improvement", "training"):
        for kind in ("png", "svg"):
            assert f"{name}_PointNavigation-v0.{kind}" in names
    assert "improvement_BernoulliBandit-v0__arms_5.png" not in names


def test_the_table_is_that_of_the_markdown_file(page, report):
    lines = (report.parent / "table.md").read_text().splitlines()
    tables = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    rows = [row for row in tables if row[0] not in ("learner", "---")]
    assert len(rows) == 13
    assert all(row in page.rows for row in rows)


def test_violations_come_first(report):
    text = report.read_text(encoding="utf-8")
    found = "maml_ppo (learner) ≥ multi_task_ppo (pre-trained) violated"
    assert 0 < text.index(found) < text.index("<h2")


def test_tasks_versions_and_settings_are_there(page, report):
    text = report.read_text(encoding="utf-8")
    assert TASK_LIST.content_hash() in text
    contract = inspect.getdoc(family_class("PointNavigation-v0")) or ""
    assert escape(contract.splitlines()[0]) in text
    assert ["setting", "maml_trpo (first_order=false)", "maml_trpo (first_order=true)"] in page.rows
    assert ["algorithm.first_order", "false", "true"] in page.rows
    goal = next(row for row in page.rows if row[0] == "goal")
    assert goal[2:4] == ["as in training", "as in training"]
    assert any(row[1:3] == ["rl2_ppo", "2"] and "2.13.0" in row for row in page.rows)


def test_commands_and_configurations_repeat_the_runs(report, tmp_path):
    text = report.read_text(encoding="utf-8")
    name = "PointNavigation-v0_maml_trpo_first_order_true"
    train = f"metarl train {name}.yaml --seed 1 --output {name}/seed1 --run.iterations 5\n"
    evaluate = (
        f"metarl evaluate {name}/seed1 --split test --steps 3 --tasks 10 --episodes 20 --seed 0"
    )
    start = text.index(train + evaluate)
    config = text[text.index("<pre>", start) + 5 : text.index("</pre>", text.index("<pre>", start))]
    (tmp_path / "config.yaml").write_text(config)
    found = load_config(tmp_path / "config.yaml")
    assert found.algorithm.first_order
    assert found.tasks.family == "PointNavigation-v0"


def test_texts_of_others_are_escaped(tmp_path, without_pictures):
    run = make_run(tmp_path / "<b>run & more")
    text = compare([run], tmp_path / "out").read_text()
    Page(text)
    assert "<b>run" not in text
    assert "&lt;b&gt;run &amp; more" in text


def test_a_family_that_is_not_installed_is_reported_all_the_same(tmp_path, without_pictures):
    run = make_run(tmp_path / "run", family="NobodyKnowsThis-v0")
    text = compare([run], tmp_path / "out").read_text()
    assert "Its definition is not here: unknown" in text


def test_the_same_runs_give_the_same_bytes(tmp_path):
    run = make_run(tmp_path / "run")
    first, second = (compare([run], tmp_path / name).read_bytes() for name in "ab")
    assert first == second


@pytest.fixture(scope="module")
def family(report):
    return load_comparison([report.parent.parent / "runs"]).families[0]


def test_every_learner_has_its_own_look(family, report):
    comparison = load_comparison([report.parent.parent / "runs"])
    styles = learner_styles(comparison)
    assert len(styles) == 12
    looks = {(style["color"], style["linestyle"]) for style in styles.values()}
    assert len(looks) == 12
    assert styles["oracle_ppo"]["color"] == "#000000"


def test_curves_over_adaptation_steps_and_environment_steps(family, report):
    comparison = load_comparison([report.parent.parent / "runs"])
    figure = curves(family, learner_styles(comparison))
    left, right = figure.axes
    learner = next(each for each in family.learners if each.label == "rl2_ppo")
    for axes, x in ((left, [0, 1, 2, 3]), (right, [0, 100, 200, 300])):
        (line,) = (each for each in axes.get_lines() if each.get_label() == "rl2_ppo")
        assert np.asarray(line.get_xdata()).tolist() == x
        np.testing.assert_array_equal(np.asarray(line.get_ydata()), learner.iqm)
    assert right.get_xscale() == "symlog"  # 300 steps beside 6000
    (oracle,) = (each for each in left.get_lines() if each.get_label() == "oracle_ppo")
    assert len(set(np.asarray(oracle.get_ydata()))) == 1


def test_a_random_baseline_far_below_leaves_the_picture_and_the_legend_says_so(family, report):
    comparison = load_comparison([report.parent.parent / "runs"])
    figure = curves(family, learner_styles(comparison))
    assert -120 < figure.axes[0].get_ylim()[0] < -70
    labels = [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()]
    assert re.fullmatch(r"random \(at -29\d\.\d, out of the picture\)", labels[-1])


def test_runs_without_metrics_have_no_training_picture(tmp_path):
    make_run(tmp_path / "run", metrics=False)
    comparison = load_comparison([tmp_path])
    draw = pictures(comparison.families[0], learner_styles(comparison))
    assert draw["training"]() is None
    assert draw["improvement"]() is None


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
def test_a_browser_shows_the_report_without_complaints(report, tmp_path):
    picture = tmp_path / "report.png"
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,3000",
        f"--screenshot={picture}",
        report.as_uri(),
    ]
    shown = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=True, env=dict(os.environ)
    )
    assert ":CONSOLE" not in shown.stderr
    assert picture.stat().st_size > 50_000  # pictures, not a blank page
