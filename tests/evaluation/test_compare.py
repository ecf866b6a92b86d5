"""Runs grouped, told apart, refused and ordered; tables whose numbers are the statistics."""

import csv
import itertools
import json
import re

import numpy as np
import pytest

from metarl.cli import main
from metarl.errors import UserError
from metarl.evaluation.compare import compare, load_comparison, output_folder
from metarl.evaluation.comparison_statistics import difference, improvement
from metarl.evaluation.statistics import interquartile_mean
from tests.evaluation.comparison_runs import FAMILY, TASK_LIST, make_run, noisy


def only_family(*folders, **options):
    (family,) = load_comparison(folders, **options).families
    return family


def labels(*folders, **options):
    return [learner.label for learner in only_family(*folders, **options).learners]


def test_runs_are_grouped_by_learner_and_sorted_by_their_return(tmp_path):
    for seed in (2, 1):
        make_run(tmp_path / f"a{seed}", noisy(0), algorithm="promp", seed=seed)
        make_run(tmp_path / f"b{seed}", noisy(50), algorithm="maml_trpo", seed=seed)
    learners = only_family(tmp_path).learners
    assert [learner.label for learner in learners] == ["maml_trpo", "promp"]
    assert [learner.seeds for learner in learners] == [(1, 2), (1, 2)]
    assert learners[0].returns.shape == (2, 10, 4)


def test_numbers_of_a_learner_by_hand(tmp_path):
    make_run(tmp_path / "1", [[0, 1, 2], [10, 14, 18]], seed=1, environment_steps=[0, 100, 200])
    make_run(tmp_path / "2", [[2, 5, 6], [0, 8, 30]], seed=2, environment_steps=[0, 200, 400])
    (learner,) = only_family(tmp_path).learners
    assert learner.mean.tolist() == [3.0, 7.0, 14.0]
    assert learner.iqm.tolist() == [1.0, 6.5, 12.0]  # the middle two of four
    assert learner.environment_steps.tolist() == [0, 150, 300]
    gain, final_gain = learner.adaptation_gain, learner.final_gain
    assert gain is not None
    assert final_gain is not None
    assert (gain.value, final_gain.value) == (4.0, 11.0)
    assert learner.worst.value == 2.0  # 0.8 of the lowest of four: that one
    # Seed 1 gains 1 and 4, seed 2 gains 3 and 8. Of 16 resamples of two seeds and two tasks the
    # lowest is seed 1 twice on task 0 twice, the highest seed 2 twice on task 1 twice: 1/16 each.
    assert (gain.low, gain.high) == (1.0, 8.0)


def test_return_at_a_number_of_environment_steps_lies_on_the_line_between_points(tmp_path):
    make_run(tmp_path / "1", [[0, 10, 30]], environment_steps=[0, 100, 200])
    (learner,) = only_family(tmp_path).learners
    found = [float(learner.at_environment_steps(at)[0, 0]) for at in (0, 50, 100, 150, 200, 999)]
    assert found == [0, 5, 10, 20, 30, 30]


def test_labels_name_the_settings_that_differ(tmp_path):
    make_run(tmp_path / "1")
    make_run(tmp_path / "2", settings={"first_order": True})
    make_run(tmp_path / "3", algorithm="promp", settings={"discount": 0.9})
    assert sorted(labels(tmp_path)) == [
        "maml_trpo (first_order=false)",
        "maml_trpo (first_order=true)",
        "promp",
    ]


def test_labels_name_three_settings_or_as_many_as_it_takes(tmp_path):
    many = {"first_order": True, "discount": 0.9, "gae_lambda": 0.5, "max_kl": 0.5}
    make_run(tmp_path / "1", settings=many)
    make_run(tmp_path / "2")
    assert all(label.count("=") == 3 for label in labels(tmp_path))
    make_run(tmp_path / "3", settings=many | {"max_kl": 0.02})
    found = labels(tmp_path)
    assert len(set(found)) == 3
    assert all("max_kl=" in label for label in found)


def test_adaptation_rates_of_the_evaluation_make_another_learner(tmp_path):
    make_run(tmp_path / "1", inner_learning_rates=[0.1, 0.05])
    make_run(tmp_path / "2", inner_learning_rates=None)
    expected = [f"maml_trpo (inner_learning_rates={rates})" for rates in ("[0.1, 0.05]", "null")]
    assert sorted(labels(tmp_path)) == expected


def test_length_of_training_and_place_do_not_make_another_learner(tmp_path):
    make_run(tmp_path / "1", iteration=5)
    make_run(tmp_path / "2", iteration=9, seed=2)
    assert labels(tmp_path) == ["maml_trpo"]


def test_a_family_with_other_options_is_another_problem(tmp_path):
    for arms in (5, 10):
        name = {"family": "BernoulliBandit-v0", "options": {"arms": arms}}
        make_run(tmp_path / str(arms), **name)
    families = load_comparison([tmp_path]).families
    assert [family.name for family in families] == [
        "BernoulliBandit-v0 (arms=10)",
        "BernoulliBandit-v0 (arms=5)",
    ]
    assert len({family.slug for family in families}) == 2


def test_the_same_learner_and_seed_twice_is_refused(tmp_path):
    make_run(tmp_path / "one")
    make_run(tmp_path / "two")
    with pytest.raises(UserError, match=r"one and .*two are the same learner.*same seed, 1"):
        load_comparison([tmp_path])


def test_a_run_given_twice_counts_once(tmp_path):
    run = make_run(tmp_path / "one")
    assert len(only_family(tmp_path, run, run).runs) == 1


def test_seeds_with_curves_of_other_lengths_are_refused(tmp_path):
    make_run(tmp_path / "1", noisy(0, steps=3))
    make_run(tmp_path / "2", noisy(0, steps=5), seed=2)
    with pytest.raises(UserError, match="after 3 and 5 adaptation steps"):
        load_comparison([tmp_path])


MIXED = {
    "family version": {"family": "PointNavigation-v1"},
    "horizon": {"horizon": 50},
    "task list": {"split_hash": "0123"},
    "episodes per task": {"episodes": 7},
    "evaluation tasks": {"returns": noisy(0, tasks=3)},
    "MuJoCo version": {"mujoco": "4.1.0"},
}


@pytest.mark.parametrize("name", MIXED)
def test_runs_of_another_protocol_are_refused(tmp_path, name):
    make_run(tmp_path / "1", noisy(0))
    make_run(tmp_path / "2", **({"returns": noisy(0)} | MIXED[name]), seed=2)
    with pytest.raises(UserError, match=f"PointNavigation differ in {name}.*--allow-mixed"):
        load_comparison([tmp_path])


@pytest.mark.parametrize("name", MIXED)
def test_allowed_mixtures_are_separate_learners_under_a_warning(tmp_path, name):
    make_run(tmp_path / "1", noisy(0))
    make_run(tmp_path / "2", **({"returns": noisy(0)} | MIXED[name]), seed=2)
    family = only_family(tmp_path, allow_mixed=True)
    assert len(family.learners) == 2
    assert all(f"{name}=" in learner.label for learner in family.learners)
    assert f"these runs differ in {name}" in family.warnings[0]
    same_tasks = name not in ("family version", "task list")
    assert len(family.improvements) == same_tasks


def test_an_evaluation_with_another_mujoco_counts_as_mixed(tmp_path):
    make_run(tmp_path / "1")
    make_run(tmp_path / "2", seed=2, versions={"mujoco": "4.1.0"})
    with pytest.raises(UserError, match=r"4\.0\.0, evaluated with 4\.1\.0 in"):
        load_comparison([tmp_path])


def test_a_run_without_evaluation_is_refused_with_the_command(tmp_path):
    make_run(tmp_path / "1")
    with pytest.raises(UserError, match=r"metarl evaluate .*1 --split ood`, or add --evaluate"):
        load_comparison([tmp_path], split="ood")


def test_an_evaluation_older_than_the_last_checkpoint_is_refused(tmp_path):
    run = make_run(tmp_path / "1", iteration=5)
    (run / "checkpoints" / "000006.pt").touch()
    with pytest.raises(UserError, match="no test evaluation of its last checkpoint"):
        load_comparison([tmp_path])


def test_evaluate_makes_only_what_is_missing(tmp_path, monkeypatch):
    make_run(tmp_path / "1")
    late = make_run(tmp_path / "2", seed=2)
    text = (late / "evaluation" / "test.json").read_text()
    (late / "evaluation" / "test.json").unlink()
    asked = []

    def evaluate_run(path, overrides):
        asked.append((path, overrides))
        (path / "evaluation" / "test.json").write_text(text)

    monkeypatch.setattr("metarl.evaluation.run.evaluate_run", evaluate_run)
    (family,) = load_comparison([tmp_path], evaluate=True).families
    assert asked == [(late, {"evaluation.split": "test"})]
    assert len(family.runs) == 2


@pytest.mark.parametrize(("name", "message"), [("none", "no folder"), ("", "no run in")])
def test_folders_without_runs_are_refused(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        load_comparison([tmp_path / name])


ORDERED = {"oracle_ppo": 30, "maml_trpo": 20, "multi_task_ppo": 10, "random": 0}


def make_ordered(folder, levels):
    for name, level in levels.items():
        make_run(folder / name, noisy(level, 0.0), algorithm=name)


def test_the_expected_order_is_checked_for_all_pairs(tmp_path):
    make_ordered(tmp_path, ORDERED)
    family = only_family(tmp_path)
    pairs = {(check.upper.label, check.lower.label) for check in family.order}
    assert pairs == set(itertools.combinations(ORDERED, 2))
    assert {check.verdict for check in family.order} == {"holds"}
    assert not family.warnings


def test_a_violated_order_is_a_warning_with_the_difference(tmp_path):
    make_ordered(tmp_path, ORDERED | {"multi_task_ppo": 25})
    family = only_family(tmp_path)
    (check,) = family.violations
    last = {each.label: each.returns[:, :, -1] for each in family.learners}
    assert check.verdict == "violated"
    assert check.difference == difference(last["maml_trpo"], last["multi_task_ppo"])
    assert check.difference.value == pytest.approx(-5)
    assert family.warnings == [check.sentence]
    assert "maml_trpo (learner) ≥ multi_task_ppo (pre-trained) violated" in check.sentence


def test_other_baselines_are_held_to_oracle_and_random_alone(tmp_path):
    make_ordered(tmp_path, ORDERED | {"ppo_from_scratch": 5})
    family = only_family(tmp_path)
    found = {
        (check.upper.label, check.lower.label)
        for check in family.order
        if "ppo_from_scratch" in (check.upper.label, check.lower.label)
    }
    assert found == {("oracle_ppo", "ppo_from_scratch"), ("ppo_from_scratch", "random")}
    assert not family.warnings


def test_a_violation_within_the_noise_says_so(tmp_path):
    make_run(tmp_path / "o", [[5.0], [5.0], [0.0]], algorithm="oracle_ppo")
    make_run(tmp_path / "m", [[1.0], [1.0], [11.0]], algorithm="maml_trpo")
    (check,) = only_family(tmp_path).violations
    assert check.verdict == "violated, but within noise"


def test_improvement_is_taken_at_the_last_step_and_at_equal_environment_steps(tmp_path):
    # After 100 environment steps per task the slow learner is where it is, the fast one halfway.
    fast = make_run(tmp_path / "fast", [[0, 8], [0, 4]], environment_steps=[0, 200])
    make_run(tmp_path / "slow", [[0, 5], [0, 1]], environment_steps=[0, 100], algorithm="promp")
    (pair,) = only_family(tmp_path).improvements
    assert (pair.first.label, pair.second.label) == ("maml_trpo", "promp")
    assert pair.last.value == 1.0
    assert pair.environment_steps == 100
    assert pair.common.value == 0.5  # 4 < 5, 2 > 1
    assert pair.last == improvement(*(each.returns[:, :, -1] for each in (pair.first, pair.second)))
    assert fast.exists()


def test_a_level_is_compared_as_it_is(tmp_path):
    make_run(tmp_path / "l", [[0, 8], [0, 4]], environment_steps=[0, 200])
    make_run(tmp_path / "r", [[-1], [5]], algorithm="random", training_steps=10)
    family = only_family(tmp_path)
    (pair,) = family.improvements
    assert pair.environment_steps == 200
    assert pair.common.value == 0.5
    level = next(each for each in family.learners if each.label == "random")
    assert level.adaptation_gain is None
    assert not level.adapts
    assert not any("unequal" in remark for remark in family.remarks)  # random is not trained


def test_what_qualifies_the_numbers_is_remarked(tmp_path):
    make_run(tmp_path / "1", noisy(0), training_steps=1000)
    make_run(tmp_path / "2", noisy(0), training_steps=1049, seed=2)
    make_run(tmp_path / "3", noisy(0, steps=5), training_steps=1100, algorithm="promp")
    text = "\n".join(only_family(tmp_path).remarks)
    assert "one seed only: promp" in text
    assert "fewer than 5 seeds: maml_trpo" in text
    assert "promp took 1,100 environment steps, maml_trpo 1,02" in text  # 1024.5, rounded to even
    assert "among the seeds" not in text
    assert "last adaptation step differs: " in text


def test_repeated_tasks_are_remarked_and_stay_in_every_resample(tmp_path):
    make_run(tmp_path / "1", [[0.0], [9.0], [0.0], [9.0]], distinct_tasks=2)
    family = only_family(tmp_path)
    (learner,) = family.learners
    assert (learner.final.low, learner.final.high) == (4.5, 4.5)
    assert "2 distinct tasks repeated to 4" in "\n".join(family.remarks)


def test_tables_hold_the_statistics(tmp_path, without_pictures):
    values = {}
    for name, seed in itertools.product(("maml_trpo", "promp"), (1, 2, 3)):
        values[name, seed] = noisy(len(name), seed=seed + 10 * len(name))
        make_run(tmp_path / f"{name}{seed}", values[name, seed], algorithm=name, seed=seed)
    report = compare([tmp_path], tmp_path / "out")
    with (report.parent / "table.csv").open() as file:
        table = {row["learner"]: row for row in csv.DictReader(file)}
    assert list(table) == ["maml_trpo", "promp"]
    for name, row in table.items():
        stacked = np.stack([values[name, seed] for seed in (1, 2, 3)])
        assert float(row["iqm_after"]) == pytest.approx(interquartile_mean(stacked[:, :, -1]))
        assert float(row["mean_before"]) == stacked[:, :, 0].mean()
        gain = stacked[:, :, 1].mean() - stacked[:, :, 0].mean()
        assert float(row["adaptation_gain"]) == pytest.approx(gain)
        low, value, high = (float(row[f"iqm_after{end}"]) for end in ("_low", "", "_high"))
        assert low < value < high
        assert f"{value:.2f} [{low:.2f}, {high:.2f}]" in (report.parent / "table.md").read_text()
        assert f"{value:.2f} [{low:.2f}, {high:.2f}]" in report.read_text()
    with (report.parent / "per_task.csv").open() as file:
        records = list(csv.DictReader(file))
    assert len(records) == 6 * 10 * 4
    (found,) = (
        record
        for record in records
        if (record["learner"], record["seed"], record["task"], record["step"])
        == ("promp", "2", "7", "3")
    )
    assert float(found["return"]) == values["promp", 2][7, 3]
    assert json.loads(found["parameters"]) == {"goal": TASK_LIST["goal"][7].tolist()}


def test_a_folder_with_other_things_is_refused_before_anything_is_written(tmp_path):
    make_run(tmp_path / "runs" / "1")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.tex, which is no part of a comparison"):
        compare([tmp_path / "runs"], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="is a file"):
        output_folder(tmp_path / "out" / "thesis.tex")


def test_an_earlier_comparison_is_replaced_whole(tmp_path):
    make_run(tmp_path / "runs" / "1")
    make_run(tmp_path / "other" / "1", family="BernoulliBandit-v0")
    compare([tmp_path / "runs", tmp_path / "other"], tmp_path / "out")
    assert (tmp_path / "out" / "curves_BernoulliBandit-v0.png").exists()
    compare([tmp_path / "runs"], tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not any("Bandit" in name for name in names)
    assert f"curves_{FAMILY}.svg" in names


def test_the_command_prints_the_table_and_the_report_last(
    tmp_path, capsys, monkeypatch, without_pictures
):
    monkeypatch.setenv("COLUMNS", "120")
    make_run(tmp_path / "runs" / "1")
    make_run(tmp_path / "runs" / "2", algorithm="promp")
    out = str(tmp_path / "out")
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(tmp_path / "runs"), "--output", out])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert re.search(r"promp +1 +1,000 +2\.00 \[", printed)
    assert printed.splitlines()[-1] == f"{out}/report.html"


def test_the_command_as_json(tmp_path, capsys, without_pictures):
    make_run(tmp_path / "runs" / "1")
    out = str(tmp_path / "out")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "runs"), "--output", out, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == f"{out}/report.html"
    assert found["learners"][0]["iqm_after"] == 2.0


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    make_run(tmp_path / "1")
    make_run(tmp_path / "2", mujoco="4.1.0", seed=2)
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(tmp_path), "--output", str(tmp_path / "out")])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: runs on PointNavigation differ in MuJoCo version: 4.0.0 in ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
