"""The report of continual runs: one file with the numbers, what they are, how to repeat them."""

import json
import re
from html import escape, unescape
from typing import Any

import pytest

from metarl.config import load_config
from metarl.continual.compare import load_comparison, write_comparison
from metarl.continual.report import CAPTIONS, DEFINITIONS
from metarl.continual.summary import METRICS
from metarl.continual.tables import HEADINGS, cells
from tests.continual.records import make_config, make_record, make_run
from tests.evaluation.test_report import Page

METHODS = {"fine_tuning": (), "from_scratch": (), "multi_task": (), "ewc": (0.1, 10.0)}
SMALL: dict[str, Any] = {
    "methods": METHODS,
    "tasks": ("moon", "rainfall"),
    "seeds": 2,
    "iterations": 10,
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Two runs on one sequence, of which one is on its own in another sequence."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        make_run(folder / "hidden", make_config(**SMALL)),
        make_run(folder / "<heads> & more", make_config(**SMALL, identity="heads")),
        make_run(folder / "long", make_config(**SMALL, repetitions=2, held_out=None)),
    ]
    return load_comparison(runs)


@pytest.fixture(scope="module")
def text(comparison, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("out") / "comparison"
    return write_comparison(comparison, folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_the_report_is_one_file_without_scripts(page, text):
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids)) == 3  # two sequences and the definitions
    for reference in page.references:
        assert reference.startswith(("data:", "#"))
        assert reference[0] != "#" or reference[1:] in page.ids
    assert not re.search(r"url\(|@import|https?://", re.sub(r'src="data:[^"]+"', "", text))


def test_pictures_are_inside_with_their_explanations(page, text):
    images = [each for each in page.references if each.startswith("data:image/svg+xml;base64,")]
    assert len(images) == 6 + 5  # nothing is held out in the long sequence
    assert text.count(f"<figcaption>{escape(CAPTIONS['adaptation'])}") == 1
    assert text.count(f"<figcaption>{escape(CAPTIONS['matrix'])}") == 2


def test_every_method_and_strength_stands_in_a_table(comparison, page):
    assert list(HEADINGS) in page.rows
    for each in comparison:
        assert len(each.results.lines) in (10, 5)
        assert all(cells(line) in page.rows for line in each.results.lines)


def test_remarks_come_before_the_numbers(comparison, text):
    section = text[text.index(f'<h2 id="{comparison[0].slug}"') :]
    table = section.index("<table")
    for remark in comparison[0].remarks:
        assert 0 < section.index(escape(remark)) < table
    both = "from_scratch (hidden); from_scratch (heads): performance at the end"
    assert any(each.startswith(both) for each in comparison[0].remarks)


def test_a_conflict_of_tasks_is_the_first_remark(tmp_path):
    config = make_config(**SMALL)
    record = make_record(config)
    matrix = record.matrix.copy()
    multi_task = [row.method == "multi_task" for row in record.rows]
    matrix[multi_task] = record.random
    (each,) = load_comparison([make_run(tmp_path / "run", config, matrix=matrix)])
    assert each.remarks[0].startswith("interference: the tasks conflict")


def test_every_metric_has_its_exact_definition(text):
    assert set(METRICS) < set(DEFINITIONS)
    for definition in DEFINITIONS.values():
        assert escape(definition) in text


def test_tasks_stand_there_with_parameters_and_the_ends_of_their_scale(comparison, page, text):
    results = comparison[1].results
    assert results.sequence.hash in text
    row = next(row for row in page.rows if row[:2] == ["moon", "1, 3"])
    assert row[2:4] == [f"{v[0]:.4g}" for v in (results.summary.random, results.summary.scratch)]
    assert json.loads(row[4]) == {"gravity": 9.81, "friction": 0.4}
    assert ["normal", "held out", "–", "–", '{"gravity": 5.0}'] in page.rows


def test_settings_and_versions_are_there(page):
    identity = next(row for row in page.rows if row[0] == "algorithm.identity")
    assert identity[1:] == ['"hidden"', '"heads"']
    clip = [row for row in page.rows if row[0].startswith("algorithm.ppo.")]
    assert len(clip) > 5
    assert any(row[0].endswith("long") and "2.13.0" in row for row in page.rows)


def test_commands_and_configurations_repeat_the_runs(comparison, text, tmp_path):
    slug = comparison[0].slug
    name = f"{slug}_heads_seed1"
    start = text.index(f"metarl train {name}.yaml --output {name}\nmetarl evaluate {name}")
    config = text[text.index("<pre>", start) + 5 : text.index("</pre>", text.index("<pre>", start))]
    (tmp_path / "config.yaml").write_text(unescape(config))
    assert load_config(tmp_path / "config.yaml") == make_config(**SMALL, identity="heads")
    long = f"{comparison[1].slug}_hidden_seed1"
    assert f"metarl compare {slug}_hidden_seed1 {name} {long}" in text


def test_texts_of_others_are_escaped(text):
    assert "<heads>" not in text
    assert "&lt;heads&gt; &amp; more" in text
