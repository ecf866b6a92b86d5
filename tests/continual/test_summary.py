"""Summaries of continual runs: metrics by hand, intervals, references, remarks."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from metarl.continual.record import ContinualRecord
from metarl.continual.summary import METRICS, MethodSummary, as_rows, mean_over_seeds, summarize
from metarl.errors import UserError
from tests.continual.hand_records import (
    FINE_TUNING,
    FINE_TUNING_TRAINING,
    SCRATCH,
    SCRATCH_TRAINING,
    SEQUENCE,
    both,
    make_record,
)

REFERENCE = ("from_scratch", None)


def with_scratch(learners, **changes) -> ContinualRecord:
    return make_record({**learners, REFERENCE: SCRATCH}, **changes)


def at_end(left: float, right: float) -> list:
    """One seed whose normalised returns end here."""
    return [[5.0, 7.0], [100.0, 7.0], [100.0 * left, 10.0 + 50.0 * right]]


def values(one: MethodSummary) -> dict[str, float]:
    return {name: estimate.value for name, estimate in one.metrics.items()}


def test_metrics_by_hand():
    summary = summarize([both()])
    fine_tuning = summary.methods[0]
    assert (fine_tuning.method, fine_tuning.strength, fine_tuning.seeds) == ("fine_tuning", None, 2)
    assert (fine_tuning.identity, fine_tuning.variant) == ("hidden", "")
    assert summary.tasks == ("left", "right")
    assert (summary.random.tolist(), summary.scratch.tolist()) == ([0.0, 10.0], [100.0, 60.0])
    # p of seed 0: left .05, 1, 0; right -.06, .2, 1; of seed 1: left .05, .8, .2; right .., 0, .5.
    # AUC of seed 0: .4 and .7, reference .4 and .4; of seed 1: .6 and .1, reference .6 and .6.
    assert values(fine_tuning) == pytest.approx(
        {
            "average_performance": ((0.0 + 1.0) / 2 + (0.2 + 0.5) / 2) / 2,
            "forgetting": ((1.0 + 0.0) / 2 + (0.6 + 0.0) / 2) / 2,
            "backward_transfer": (-1.0 - 0.6) / 2,
            "forward_transfer": ((0.0 + 0.3 / 0.6) / 2 + (0.0 - 0.5 / 0.4) / 2) / 2,
            "auc": (0.55 + 0.35) / 2,
            "auc_reference": (0.4 + 0.6) / 2,
            "zero_shot_transfer": (0.26 + 0.06) / 2,
            "adaptation_gain": 4.0,
            "adaptation_area": (1.5 + 3.5) / 2,
            "dormant_units": 0.2,
            "stable_rank": 3.0,
            "weight_norm": 10.0,
            "final_return": (30.0 + 27.5) / 2,
        }
    )
    assert fine_tuning.matrix.tolist() == [[5.0, 7.0], [90.0, 15.0], [10.0, 47.5]]


def test_metrics_stand_in_the_order_of_tables():
    for one in summarize([both()]):
        assert list(one.metrics) == list(METRICS)


def test_from_scratch_against_itself():
    scratch = summarize([both()]).methods[1]
    assert scratch.metrics["forward_transfer"].value == 0.0
    assert scratch.metrics["auc"] == scratch.metrics["auc_reference"]
    assert "1 by definition" in scratch.remarks[0]


def test_intervals_of_two_seeds_by_enumeration():
    # Resampled means: seed 0 twice (1/4), both (1/2), seed 1 twice (1/4).
    estimate = summarize([both()]).methods[0].metrics["average_performance"]
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((0.35, 0.425, 0.5))


def test_intervals_of_five_seeds_against_all_resamples():
    seeds = np.array([0.0, 1.0, 3.0, 8.0, 9.0])
    means = [np.mean(drawn) for drawn in itertools.product(seeds, repeat=5)]
    low, high = np.quantile(means, [0.025, 0.975])
    estimate = mean_over_seeds(seeds)
    assert estimate.value == 4.2
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.21)
    assert estimate == mean_over_seeds(seeds)


def test_nothing_pretends_to_an_interval():
    one, unknown = mean_over_seeds(np.array([3.0])), mean_over_seeds(np.array([3.0, np.nan]))
    assert one.value == 3.0
    for number in (one.low, one.high, unknown.value, unknown.low, unknown.high):
        assert np.isnan(number)


def test_the_reference_is_the_mean_over_seeds_where_the_seed_is_missing():
    three = [*FINE_TUNING, FINE_TUNING[0]]
    training = [*FINE_TUNING_TRAINING, FINE_TUNING_TRAINING[0]]
    record = make_record(
        {("fine_tuning", None): three, REFERENCE: SCRATCH},
        {("fine_tuning", None): training, REFERENCE: SCRATCH_TRAINING},
    )
    summary = summarize([record])
    # of the third seed: the mean of .4 and .6
    assert values(summary.methods[0])["auc_reference"] == pytest.approx((0.4 + 0.6 + 0.5) / 3)
    assert "from_scratch: 2 seeds, others have 3" in summary.remarks


def test_best_is_the_strength_with_the_highest_performance():
    learners = {
        ("l2", 0.1): [at_end(0.2, 0.9)],
        ("l2", 1.0): [at_end(0.8, 0.7)],
        ("l2", 10.0): [at_end(0.9, 0.1)],
        ("ewc", 1.0): [at_end(0.1, 0.1)],
    }
    summary = summarize([with_scratch(learners)])
    best = [(one.method, one.strength) for one in summary if one.best]
    assert best == [("l2", 1.0), ("ewc", 1.0), REFERENCE]
    assert any("chosen on these very runs" in remark for remark in summary.remarks)
    assert not any("best:" in remark for remark in summarize([both()]).remarks)


def test_a_task_that_is_not_learned_is_named_and_left_out():
    summary = summarize([replace(both(), random=[100.0, 10.0])])
    assert "left: from-scratch learners do not learn it (return 100," in summary.remarks[0]
    fine_tuning = values(summary.methods[0])
    assert fine_tuning["average_performance"] == pytest.approx((1.0 + 0.5) / 2)
    assert fine_tuning["forgetting"] == 0.0  # of the last task
    assert np.isnan(fine_tuning["backward_transfer"])
    assert fine_tuning["auc"] == pytest.approx((0.7 + 0.1) / 2)


def test_a_task_that_is_hardly_learned_is_named():
    # From-scratch learners end at 90 and 110, standard deviation 14.1.
    summary = summarize([replace(both(), random=[90.0, 10.0])])
    (remark,) = [remark for remark in summary.remarks if "mostly noise" in remark]
    assert remark.startswith("left: from-scratch learners gain less")
    assert not any("noise" in remark for remark in summarize([both()]).remarks)


def test_a_stage_whose_reference_reaches_one_is_left_out_for_all():
    # Seed 1's reference of stage 1 is 1 exactly.
    reference = [SCRATCH_TRAINING[0], [80.0, 120.0, 30.0, 50.0]]
    record = make_record(
        {("fine_tuning", None): FINE_TUNING, REFERENCE: SCRATCH},
        {("fine_tuning", None): FINE_TUNING_TRAINING, REFERENCE: reference},
    )
    summary = summarize([record])
    assert "stage 1 (left): the AUC of a from-scratch learner reaches 1" in summary.remarks[0]
    fine_tuning = values(summary.methods[0])
    assert fine_tuning["forward_transfer"] == pytest.approx((0.3 / 0.6 - 0.5 / 0.4) / 2)
    assert fine_tuning["auc"] == pytest.approx((0.7 + 0.1) / 2)
    assert fine_tuning["auc_reference"] == pytest.approx(0.5)


def test_without_from_scratch_only_raw_numbers_are_left():
    summary = summarize([make_record({("fine_tuning", None): FINE_TUNING})])
    assert "add from_scratch" in summary.remarks[0]
    found = values(summary.methods[0])
    finite = {name for name, value in found.items() if np.isfinite(value)}
    assert finite == {
        *("adaptation_gain", "adaptation_area", "dormant_units", "stable_rank"),
        *("weight_norm", "final_return"),
    }
    assert not summary.methods[0].best


def test_a_run_that_has_not_ended_says_so():
    record = both()
    matrix, plasticity = record.matrix.copy(), dict(record.plasticity)
    matrix[:, 2] = np.nan
    training = record.training_returns.copy()
    training[:, 3:] = np.nan
    stopped = replace(record, matrix=matrix, training_returns=training, iteration=3,
                      plasticity=plasticity)  # fmt: skip
    summary = summarize([stopped])
    assert "stopped after 3 of 4 iterations, 1 of 2 stages" in summary.remarks[0]
    assert "2 of 2 seeds without returns after the last stage" in summary.methods[0].remarks
    found = values(summary.methods[0])
    for name in ("average_performance", "forgetting", "forward_transfer", "final_return"):
        assert np.isnan(found[name])
    assert not any(one.best for one in summary)
    assert summary.methods[0].matrix[1].tolist() == [90.0, 15.0]


def multi_task(left: float, right: float, identity: str = "hidden") -> ContinualRecord:
    return with_scratch(
        {("multi_task", None): [at_end(left, right)] * 2}, algorithm={"identity": identity}
    )


def interference(*records: ContinualRecord) -> list[str]:
    return [remark for remark in summarize(records).remarks if "interference" in remark]


def test_interference_is_named():
    (remark,) = interference(multi_task(0.9, -0.1))
    assert "the tasks conflict" in remark
    assert "with the task hidden (multi_task reaches 0.40, from-scratch is 1)" in remark
    assert "no regulariser can" in remark


def test_no_interference_where_multi_task_serves_all_or_the_task_is_known():
    assert interference(multi_task(0.5, 0.5)) == []
    assert interference(multi_task(0.9, -0.1, "given")) == []
    assert interference(both()) == []


def test_interference_goes_away_with_identity_or_it_was_too_little_training():
    hidden = multi_task(0.3, 0.1)
    (remark,) = interference(hidden, multi_task(0.9, 0.7, "heads"))
    assert remark.endswith("with identity=heads multi_task reaches 0.80, there it goes away")
    (remark,) = interference(hidden, multi_task(0.2, 0.2, "given"))
    assert remark.endswith("reaches 0.20, so too little training may be the cause as well")


def test_multi_task_has_no_auc():
    one = summarize([multi_task(0.5, 0.5)]).methods[0]
    assert np.isnan(one.metrics["auc"].value)
    assert np.isnan(one.metrics["forward_transfer"].value)
    assert "a stage has no AUC" in one.remarks[0]


def test_records_of_other_seeds_are_pooled():
    summary = summarize([both(), replace(both(), seed=2)])
    assert [one.seeds for one in summary] == [4, 4]
    assert values(summary.methods[0]) == pytest.approx(values(summarize([both()]).methods[0]))


def test_the_same_learner_counts_once():
    assert [one.seeds for one in summarize([both(), both()])] == [2, 2]


def test_one_learner_with_two_results_is_refused():
    other = with_scratch({("fine_tuning", None): np.array(FINE_TUNING) + 1.0})
    with pytest.raises(UserError, match=r"fine_tuning, seed 0 has different returns in two"):
        summarize([both(), other])


def test_identities_and_settings_stand_apart():
    algorithm = both().algorithm
    heads = replace(both(), algorithm=algorithm | {"identity": "heads", "seeds": 7})
    clipped = replace(both(), algorithm=algorithm | {"ppo": {"clip": 0.3}}, seed=2)
    summary = summarize([both(), heads, clipped])
    found = [(one.identity, one.variant, one.seeds) for one in summary]
    assert found[::2] == [
        ("hidden", "ppo.clip=0.2", 2),
        ("heads", "ppo.clip=0.2", 2),
        ("hidden", "ppo.clip=0.3", 2),
    ]


def test_a_reference_from_elsewhere_is_remarked():
    heads = make_record(
        {("fine_tuning", None): FINE_TUNING},
        {("fine_tuning", None): FINE_TUNING_TRAINING},
        algorithm={"identity": "heads"},
    )
    summary = summarize([replace(both(), algorithm={"identity": "hidden"}), heads])
    (other,) = [one for one in summary if one.identity == "heads"]
    assert "refers to from-scratch learners with another identity" in other.remarks[0]
    assert values(other)["auc_reference"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hash": "other"}, r"different sequences \(hash\): 0123456789abcdef and other"),
        ({"episodes": 4}, "different episodes: 3 and 4"),
        ({"horizon": 8}, "different horizon: 7 and 8"),
    ],
)
def test_records_of_different_sequences_are_refused(changes, message):
    other = replace(both(), sequence=replace(SEQUENCE, **changes))
    with pytest.raises(UserError, match=message):
        summarize([both(), other])


def test_records_of_different_lengths_are_refused():
    longer = replace(
        both(), sequence=replace(SEQUENCE, iterations=3), training_returns=np.zeros((4, 6))
    )
    with pytest.raises(UserError, match="different iterations: 2 and 3"):
        summarize([both(), longer])
    more = replace(both(), adaptation=np.zeros((4, 3, 5)))
    with pytest.raises(UserError, match="different adaptation steps: 2 and 4"):
        summarize([both(), more])


def test_no_record_is_refused():
    with pytest.raises(UserError, match="no record"):
        summarize([])


def test_rows_for_tables():
    first, second = as_rows(summarize([both()]).methods)
    assert list(first)[:6] == ["method", "strength", "identity", "variant", "seeds", "best"]
    assert list(first)[6:9] == [
        "average_performance",
        "average_performance_low",
        "average_performance_high",
    ]
    assert len(first) == 6 + 3 * len(METRICS)
    assert (first["method"], first["strength"], first["best"]) == ("fine_tuning", None, True)
    assert first["average_performance_low"] == pytest.approx(0.35)
    assert second["method"] == "from_scratch"
