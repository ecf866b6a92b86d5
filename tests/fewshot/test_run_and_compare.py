"""Few-shot runs from the command line: train, resume, evaluate, compare, and what is refused."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metarl.cli import main
from metarl.config import from_mapping, to_yaml
from metarl.errors import UserError
from metarl.fewshot.calibration import of_classes
from metarl.fewshot.compare import cells, headings, is_part, markdown, rows
from metarl.fewshot.comparison import changed_settings, compare_few_shot, load_few_shot_runs
from metarl.fewshot.comparison_pictures import scores as scores_picture
from metarl.fewshot.experiment import FewShotExperiment
from metarl.fewshot.pictures import overview
from metarl.fewshot.results import FewShotResult
from metarl.fewshot.run import describe, evaluate_few_shot, shown_curves
from tests.evaluation.comparison_runs import make_run as make_meta_run

SMALL: dict[str, Any] = {
    "data": {"name": "sinusoids"},
    "episodes": {"shots": 5, "queries": 6, "per_batch": 4},
    "model": {"name": "mlp", "hidden_sizes": [8, 8]},
    "evaluation": {"episodes": 10, "steps": 2},
    "run": {"iterations": 4, "threads": 1, "checkpoint_every": 2, "device": "cpu"},
}
GLYPHS: dict[str, Any] = {
    "data": {
        "name": "glyphs",
        "options": {
            "training_classes": 6,
            "validation_classes": 4,
            "test_classes": 6,
            "examples": 6,
            "image_size": 8,
        },
    },
    "episodes": {"ways": 3, "shots": 1, "queries": 2, "per_batch": 2},
    "model": {"name": "mlp", "hidden_sizes": [8]},
    "evaluation": {"episodes": 4, "steps": 1},
    "run": SMALL["run"],
}


def config_of(method: str, **algorithm: Any) -> dict[str, Any]:
    return SMALL | {"algorithm": {"name": method, **algorithm}}


def run(capsys, *words: Any) -> str:
    """What the command prints; its exit code must be 0."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    assert end.value.code == 0, captured.err
    return captured.out


def refused(capsys, *words: Any) -> str:
    """The one line with which the command refuses."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.err.count("\n") == 1
    return captured.err


def write_config(path: Path, mapping: dict[str, Any]) -> Path:
    path.write_text(json.dumps(mapping))  # JSON is YAML
    return path


# Training and evaluation ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["cnp", "platipus", "parameter_averaging", "random_features"])
def test_resume_is_bit_exact(method):
    settings = {"steps_per_task": 3} if method == "parameter_averaging" else {}
    config = from_mapping(config_of(method, **settings), "test")
    straight = FewShotExperiment.from_config(config)
    wanted = [straight.iterate(iteration) for iteration in (1, 2, 3)][-1]
    first, second = (FewShotExperiment.from_config(config) for _ in range(2))
    for iteration in (1, 2):
        first.iterate(iteration)
    second.load_state_dict(first.state_dict())
    found = second.iterate(3)
    assert {n: v for n, v in found.items() if not n.startswith("time")} == {
        n: v for n, v in wanted.items() if not n.startswith("time")
    }
    state, other = (each.learner.state_dict()["parameters"] for each in (straight, second))
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_train_evaluate_compare(tmp_path, capsys):
    for method in ("cnp", "platipus"):
        file = write_config(tmp_path / f"{method}.yaml", config_of(method))
        run(capsys, "train", file, "--output", tmp_path / method)
        printed = run(capsys, "evaluate", tmp_path / method, "--episodes", 12)
        picture = tmp_path / method / "evaluation" / "fewshot-test.png"
        assert printed.rstrip().endswith(str(picture))
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert (picture.parent / "fewshot-test-curves.png").exists()
    result = FewShotResult.load(tmp_path / "platipus" / "evaluation" / "fewshot-test.json")
    assert result.scores.shape == (12, 3)
    assert result.details["iteration"] == 4
    assert result.details["size"] == "5 points"
    assert "normalization" not in result.details
    out = tmp_path / "out"
    printed = run(capsys, "compare", tmp_path / "cnp", tmp_path / "platipus", "--output", out)
    assert printed.rstrip().endswith(str(out / "report.html"))
    assert all(is_part(path.name) for path in out.iterdir())
    names = {path.stem for path in out.glob("*.svg")}
    assert names == {f"{kind}_sinusoids_5points" for kind in ("scores", "steps", "calibration")}
    with (out / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {(row["method"], row["step"]) for row in table} == {
        ("cnp", "0"),
        *(("platipus", str(step)) for step in range(3)),
    }
    text = (out / "report.html").read_text()
    assert 'src="http' not in text
    assert "metarl train" in text


def test_the_same_episodes_at_every_evaluation(tmp_path, capsys):
    file = write_config(tmp_path / "c.yaml", config_of("constant"))
    run(capsys, "train", file, "--output", tmp_path / "run")
    first, _ = evaluate_few_shot(tmp_path / "run")
    second, _ = evaluate_few_shot(tmp_path / "run", {"evaluation.episodes": 6})
    np.testing.assert_array_equal(first.scores[:6], second.scores)
    other, _ = evaluate_few_shot(tmp_path / "run", {"evaluation.seed": 1})
    assert not np.array_equal(first.scores, other.scores)


def test_shown_curves_go_from_left_to_right_with_their_own_values():
    config = from_mapping(config_of("cnp"), "test")
    found = shown_curves(FewShotExperiment.from_config(config))
    assert found is not None
    assert found.context.shape == (6, 5, 2)
    assert (np.diff(found.x, axis=1) >= 0).all()
    # A sinusoid again: its second derivative is -y, so neighbours are near.
    assert np.abs(np.diff(found.y, axis=1)).max() < 5.0 * np.diff(found.x, axis=1).max() + 1e-6


def test_episodes_of_another_size_have_files_of_their_own_and_a_section(tmp_path, capsys):
    config = GLYPHS | {"algorithm": {"name": "prototypical"}}
    path = tmp_path / "run"
    run(capsys, "train", write_config(tmp_path / "p.yaml", config), "--output", path)
    own = evaluate_few_shot(path)[0]
    printed = run(capsys, "evaluate", path, "--episodes.ways", 5, "--episodes.shots", 3)
    assert "5-way 3-shot" in printed
    assert "BatchNorm: transductive" in printed
    files = sorted(file.name for file in (path / "evaluation").glob("*.json"))
    assert files == ["fewshot-test-5way_3shot.json", "fewshot-test.json"]
    logged = {each.name for each in (path / "tensorboard").glob("evaluation-*")}
    assert logged == {"evaluation-test", "evaluation-test-5way_3shot"}
    larger = FewShotResult.load(path / "evaluation" / files[0])
    again = FewShotResult.load(path / "evaluation" / files[1])
    np.testing.assert_array_equal(again.scores, own.scores)
    assert (larger.details["ways"], larger.details["shots"]) == (5, 3)
    assert (larger.details["training_ways"], larger.details["training_shots"]) == (3, 1)
    assert own.details["test_episodes"] != larger.details["test_episodes"]
    # 10 queries an episode: tenths.
    assert np.allclose(larger.scores * 10, np.round(larger.scores * 10))
    found = compared(path)
    assert [each.slug for each in found] == ["glyphs_3way_1shot", "glyphs_5way_3shot"]
    remarks = found[1].remarks
    assert "trained with another number of shots than tested: prototypical (1)" in remarks
    assert changed_settings(found[1].runs[0].config, larger) == {
        "evaluation.split": "test",
        "episodes.ways": 5,
        "episodes.shots": 3,
    }
    out = tmp_path / "out"
    run(capsys, "compare", path, "--output", out)
    report = (out / "report.html").read_text()
    assert "--split test --episodes.ways 5 --episodes.shots 3" in report


def test_another_mode_of_batchnorm_has_files_and_a_row_of_its_own(tmp_path, capsys):
    config = GLYPHS | {"algorithm": {"name": "prototypical"}}
    path = tmp_path / "run"
    run(capsys, "train", write_config(tmp_path / "p.yaml", config), "--output", path)
    run(capsys, "evaluate", path)
    printed = run(capsys, "evaluate", path, "--model.normalization", "support")
    assert "BatchNorm: support" in printed
    files = sorted(file.name for file in (path / "evaluation").glob("*.json"))
    assert files == ["fewshot-test-support.json", "fewshot-test.json"]
    own, other = (FewShotResult.load(path / "evaluation" / file) for file in reversed(files))
    assert own.details["test_episodes"] == other.details["test_episodes"]
    assert not np.array_equal(own.log_likelihood, other.log_likelihood)
    (found,) = compared(path)
    assert {method.normalization for method in found.methods} == {"transductive", "support"}
    changes = {"evaluation.split": "test", "model.normalization": "support"}
    assert changed_settings(found.runs[0].config, other) == changes
    line = refused(capsys, "evaluate", path, "--model.normalization", "none")
    assert "was trained with transductive and cannot do none" in line


def test_the_best_and_the_last_parameters_have_files_and_rows_of_their_own(tmp_path, capsys):
    config = GLYPHS | {"algorithm": {"name": "prototypical"}}
    config["evaluation"] = config["evaluation"] | {"checkpoint": "best"}
    config["run"] = config["run"] | {"evaluate_every": 1}
    path = tmp_path / "run"
    run(capsys, "train", write_config(tmp_path / "p.yaml", config), "--output", path)
    run(capsys, "evaluate", path)
    run(capsys, "evaluate", path, "--evaluation.checkpoint", "last")
    files = sorted(file.name for file in (path / "evaluation").glob("*.json"))
    assert files == ["fewshot-test-last.json", "fewshot-test.json"]
    (found,) = compared(path)
    labels = {"prototypical (checkpoint=best)", "prototypical (checkpoint=last)"}
    assert {method.label for method in found.methods} == labels
    last = FewShotResult.load(path / "evaluation" / files[0])
    changes = {"evaluation.split": "test", "evaluation.checkpoint": "last"}
    assert changed_settings(found.runs[0].config, last) == changes


def test_data_that_have_changed_are_neither_trained_on_nor_evaluated(tmp_path, capsys):
    config = GLYPHS | {"algorithm": {"name": "prototypical"}}
    path = tmp_path / "run"
    run(capsys, "train", write_config(tmp_path / "p.yaml", config), "--output", path)
    text = (path / "versions.json").read_text()
    splits = json.loads(text)["splits"]
    (path / "versions.json").write_text(text.replace(splits["train"], "0123456789abcdef"))
    wanted = f"have changed since the run was trained (0123456789abcdef, now {splits['train']})"
    assert wanted in refused(capsys, "train", "--resume", path)
    assert wanted in refused(capsys, "evaluate", path)


def test_a_file_where_results_belong_is_told(tmp_path, capsys):
    config = GLYPHS | {"algorithm": {"name": "prototypical"}}
    path = tmp_path / "run"
    run(capsys, "train", write_config(tmp_path / "p.yaml", config), "--output", path)
    (path / "evaluation").touch()
    assert f"cannot write {path / 'evaluation'}" in refused(capsys, "evaluate", path)


def test_names_in_brackets_are_no_markup(tmp_path, capsys):
    path = make_run(tmp_path / "a", "cnp", 0.9, protocol="read from own[v1].csv")
    printed = run(capsys, "compare", path, "--output", tmp_path / "out")
    assert "read from own[v1].csv" in " ".join(printed.split())


def test_what_has_learned_a_number_of_classes_is_not_evaluated_on_others(tmp_path, capsys):
    config = GLYPHS | {"algorithm": {"name": "maml"}}
    path = tmp_path / "run"
    run(capsys, "train", write_config(tmp_path / "m.yaml", config), "--output", path)
    line = refused(capsys, "evaluate", path, "--episodes.ways", 4)
    assert "maml learns parameters for a number of classes" in line
    assert "evaluate 3-way episodes, or train with --episodes.ways 4" in line
    assert run(capsys, "evaluate", path, "--episodes.shots", 2)
    assert "too few for 60-way episodes" in refused(capsys, "evaluate", path, "--episodes.ways", 60)
    assert "episodes.per_batch has no place here" in refused(
        capsys, "evaluate", path, "--episodes.per_batch", 4
    )


def test_curves_have_no_ways(tmp_path, capsys):
    run(capsys, "train", write_config(tmp_path / "c", config_of("cnp")), "--output", tmp_path / "r")
    assert "curves have no classes" in refused(
        capsys, "evaluate", tmp_path / "r", "--episodes.ways", 2
    )
    run(capsys, "evaluate", tmp_path / "r", "--episodes.shots", 3)
    assert (tmp_path / "r" / "evaluation" / "fewshot-test-3points-curves.png").exists()


def test_classes_that_were_trained_on_are_not_held_out(tmp_path, capsys):
    config = GLYPHS | {"algorithm": {"name": "prototypical"}}
    config["data"] = config["data"] | {"train_on_validation": True}
    path = tmp_path / "run"
    run(capsys, "train", write_config(tmp_path / "p.yaml", config), "--output", path)
    line = refused(capsys, "evaluate", path, "--split", "validation")
    assert "was trained on the validation classes too; evaluate --split test" in line


def test_a_run_that_is_not_finished_says_so(tmp_path, capsys):
    file = write_config(tmp_path / "c.yaml", config_of("constant"))
    run(capsys, "train", file, "--output", tmp_path / "run")
    text = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(text.replace("iterations: 4", "iterations: 9"))
    printed = run(capsys, "evaluate", tmp_path / "run")
    assert "the training is not finished: 4 of 9 iterations" in printed
    (found,) = compared(tmp_path / "run")
    assert "trained for fewer iterations than planned: constant" in found.remarks


def test_what_is_no_few_shot_run_is_refused(tmp_path, capsys):
    other = make_meta_run(tmp_path / "meta")
    with pytest.raises(UserError, match="is no few-shot run"):
        evaluate_few_shot(other)


# Comparison -----------------------------------------------------------------------------------


def make_run(
    path: Path,
    method: str,
    level: float,
    steps: int = 0,
    seed: int = 1,
    kind: str = "classification",
    **changed: Any,
) -> Path:
    """An evaluated Omniglot run, as `metarl train` and `metarl evaluate` leave it, in no time."""
    details = {
        "data": "omniglot",
        "method": method,
        "size": "5-way 1-shot",
        "ways": 5,
        "shots": 1,
        "queries": 15,
        "protocol": "made by hand",
        "splits": {"test": "0123"},
        "data_split": "vinyals",
        "test_episodes": "0123",
        "normalization": "transductive",
        "settings": {"first_order": False},
        "model": {"name": "conv4"},
        "evaluation": {"seed": 0, "split": "test"},
        "iteration": 7,
        **changed,
    }
    mapping = {
        "data": {"name": "omniglot", "split": details["data_split"]},
        "algorithm": {"name": method},
        "run": {"seed": seed},
    }
    (path / "evaluation").mkdir(parents=True)
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "000007.pt").touch()
    (path / "config.yaml").write_text(to_yaml(from_mapping(mapping, "test")))
    (path / "versions.json").write_text("{}")
    noise = np.random.default_rng(seed).normal(0.0, 0.02, (600, steps + 1))
    scores = np.clip(level + noise, 0.0, 1.0)
    calibration = of_classes(np.full(10, level), np.ones(10))
    result = FewShotResult(kind, scores, scores - 1.0, calibration, details)
    result.save(path / "evaluation", "fewshot-test")
    return path


def compared(*paths: Path, allow_mixed: bool = False):
    return compare_few_shot(load_few_shot_runs(paths, "test"), allow_mixed)


def test_the_best_method_stands_first_beside_what_was_published(tmp_path):
    (found,) = compared(
        make_run(tmp_path / "a", "cnp", 0.90),
        make_run(tmp_path / "b", "maml", 0.97, steps=3),
    )
    assert [method.label for method in found.methods] == ["maml", "cnp"]
    best = dict(zip(headings(found), cells(found, found.methods[0]), strict=True))
    assert best["published"] == (
        "98.70 ± 0.40 % (transductive, its test episodes have as many queries as shots)"
    )
    assert best["source"].startswith("Finn et al. 2017")
    assert best["accuracy [95 %]"].startswith("96.")
    other = dict(zip(headings(found), cells(found, found.methods[1]), strict=True))
    assert other["published"] == other["source"] == "–"
    by_step = [row["published"] for row in rows(found) if row["method"] == "maml"]
    assert by_step == [None, None, None, "0.987"]
    assert "made by hand" in markdown(found)


def test_seeds_of_a_method_are_one_row_whose_interval_is_over_seeds(tmp_path):
    paths = [
        make_run(tmp_path / str(seed), "cnp", level, seed=seed)
        for seed, level in ((1, 0.80), (2, 0.90))
    ]
    (found,) = compared(*paths)
    (method,) = found.methods
    assert len(method.runs) == 2
    assert method.last.value == pytest.approx(0.85, abs=0.005)
    assert method.last.low < 0.81
    assert method.last.high > 0.89
    assert any(remark.startswith("fewer than 5 seeds: cnp;") for remark in found.remarks)
    assert not any("one seed" in remark for remark in found.remarks)


def test_runs_that_differ_in_more_than_their_seed_have_labels_of_their_own(tmp_path):
    first, second = make_run(tmp_path / "a", "cnp", 0.8), make_run(tmp_path / "b", "cnp", 0.9)
    text = (second / "config.yaml").read_text()
    (second / "config.yaml").write_text(text.replace("std_floor: 0.1", "std_floor: 0.2"))
    (found,) = compared(first, second)
    assert [each.label for each in found.methods] == ["cnp (std_floor=0.2)", "cnp (std_floor=0.1)"]


def test_parameters_that_validated_best_are_a_method_of_their_own(tmp_path):
    """And so is a method of which not all stages have begun."""
    best = {"seed": 0, "split": "test", "checkpoint": "best"}
    (found,) = compared(
        make_run(tmp_path / "a", "cnp", 0.8),
        make_run(tmp_path / "b", "cnp", 0.9, seed=2, best_iteration=1_234, evaluation=best),
        make_run(tmp_path / "c", "distillation", 0.7, missing_stage="no student was trained"),
    )
    labels = ["cnp (checkpoint=best)", "cnp (checkpoint=last)", "distillation"]
    assert [each.label for each in found.methods] == labels
    told = "the parameters are those that validated best: cnp (checkpoint=best) (iteration 1,234)"
    assert told in found.remarks
    assert "distillation is not yet whole: no student was trained" in found.remarks
    remarks = found.methods[2].first.remarks
    assert "not yet the whole method: no student was trained" in remarks


def test_other_episodes_are_refused_or_marked_and_other_modes_are_told(tmp_path, capsys):
    runs = (
        make_run(tmp_path / "a", "cnp", 0.8),
        make_run(tmp_path / "b", "versa", 0.9, test_episodes="ffff", normalization="support"),
    )
    differ = "differ in the examples or the drawing of the test episodes: "
    line = refused(capsys, "compare", *runs, "--output", tmp_path / "out")
    assert f"runs on omniglot, 5-way 1-shot {differ}ffff in {runs[1]}; 0123 in {runs[0]};" in line
    (found,) = compared(*runs, allow_mixed=True)
    (warning,) = found.warnings
    assert warning.startswith(f"runs {differ}")
    assert any("BatchNorm modes differ" in remark for remark in found.remarks)
    assert any("one seed" in remark for remark in found.remarks)


def test_the_same_method_and_seed_twice_is_refused(tmp_path):
    runs = [make_run(tmp_path / name, "cnp", 0.8) for name in "ab"]
    with pytest.raises(UserError, match="are the same method with the same seed, 1; leave one out"):
        compared(*runs)


def test_the_size_of_training_episodes_makes_a_method(tmp_path):
    """Tested alike, one of them trained with 5 shots: no seed of the other."""
    first, second = make_run(tmp_path / "a", "cnp", 0.8), make_run(tmp_path / "b", "cnp", 0.9)
    text = (second / "config.yaml").read_text()
    (second / "config.yaml").write_text(text.replace("  shots: 1", "  shots: 5"))
    (found,) = compared(first, second)
    labels = ["cnp (training_shots=5)", "cnp (training_shots=1)"]
    assert [each.label for each in found.methods] == labels


def test_steps_of_one_method_are_not_those_of_another(tmp_path):
    """Columns are steps: 3 and 10, of which a method with 3 has only the first."""
    details = {"data": "sinusoids", "size": "5 points", "ways": 1, "shots": 5}
    short = make_run(tmp_path / "a", "cnp", 0.8, steps=3, kind="regression", **details)
    long = make_run(tmp_path / "b", "versa", 0.9, steps=10, kind="regression", **details)
    level = make_run(tmp_path / "c", "siamese", 0.7, kind="regression", **details)
    (found,) = compared(short, long, level)
    assert found.columns == [1, 3, 5, 10]
    texts = {method.name: cells(found, method)[4:8] for method in found.methods}
    assert [text == "–" for text in texts["cnp"]] == [False, False, True, True]
    assert [text == "–" for text in texts["siamese"]] == [True, True, True, False]
    assert "–" not in texts["versa"]


def test_pictures_have_published_figures_of_the_last_step_alone(tmp_path):
    (found,) = compared(make_run(tmp_path / "a", "relation", 0.9, normalization="running"))
    (axes,) = scores_picture(found).axes
    drawn = {line.get_label(): line.get_xdata() for line in axes.lines}
    assert drawn["published"] == pytest.approx([99.6])
    assert drawn["another code's rerun"] == pytest.approx([98.02])
    details = {"data": "sinusoids", "size": "5 points", "ways": 1, "shots": 5}
    (found,) = compared(
        make_run(tmp_path / "b", "maml", 0.9, steps=3, kind="regression", **details)
    )
    (axes,) = scores_picture(found).axes
    assert "published" not in {line.get_label() for line in axes.lines}


def test_every_bar_of_accuracies_has_equally_many_values(tmp_path):
    (found,) = compared(make_run(tmp_path / "a", "cnp", 0.8))
    (bars, _) = overview(found.methods[0].first).axes
    found_bars: list[Any] = list(bars.patches)
    edges = np.array([bar.get_x() for bar in found_bars])
    steps = np.diff(edges) * 75  # queries of an episode
    assert np.allclose(steps, np.round(steps[0]))
    assert np.allclose(edges * 75 % 1.0, 0.5)
    assert sum(bar.get_height() for bar in found_bars) == 600


def test_there_are_no_tasks_outside_the_training_range(tmp_path, capsys):
    path = make_run(tmp_path / "a", "cnp", 0.8)
    line = refused(capsys, "compare", path, "--split", "ood", "--output", tmp_path / "out")
    assert "few-shot runs have test and validation" in line


def test_sizes_are_sections_of_their_own(tmp_path):
    found = compared(
        make_run(tmp_path / "a", "cnp", 0.8),
        make_run(tmp_path / "b", "cnp", 0.9, shots=5, size="5-way 5-shot"),
    )
    assert [each.slug for each in found] == ["omniglot_5way_1shot", "omniglot_5way_5shot"]


def test_runs_of_other_kinds_are_refused(tmp_path, capsys):
    few, meta = make_run(tmp_path / "few", "cnp", 0.8), make_meta_run(tmp_path / "meta")
    line = refused(capsys, "compare", few, meta, "--output", tmp_path / "out")
    assert "is a few-shot run and" in line
    assert "is a meta-RL run; compare them apart" in line


def test_a_run_without_evaluation_is_refused(tmp_path, capsys):
    path = make_run(tmp_path / "a", "cnp", 0.8)
    (path / "checkpoints" / "000009.pt").touch()
    line = refused(capsys, "compare", path, "--output", tmp_path / "out")
    assert f"run `metarl evaluate {path} --split test`, or add --evaluate" in line


def test_details_that_are_needed_are_asked_for(tmp_path):
    path = make_run(tmp_path / "a", "cnp", 0.8)
    file = path / "evaluation" / "fewshot-test.json"
    record = json.loads(file.read_text())
    del record["details"]["ways"]
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="lacks ways"):
        compared(path)


def test_every_setting_of_the_evaluation_is_in_the_result():
    config = from_mapping(config_of("cnp"), "test")
    described = describe(FewShotExperiment.from_config(config))
    assert described["evaluation"] == dataclasses.asdict(config.evaluation)
    assert described["settings"]["std_floor"] == 0.1
