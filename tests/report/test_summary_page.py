import dataclasses
import json
import math
import re

import pytest

from wcr_med.report import (
    PATIENTS_FIGURE,
    SPARSITY_FIGURE,
    LadderRow,
    Score,
    draw_patients,
    draw_sparsity,
    write_summary,
)
from wcr_med.report.analysis.comparison_records import WorstDisturbance
from wcr_med.report.summary import render_summary, with_interval


@pytest.fixture
def document(make_document, make_result):
    return make_document(make_result([0, 1, 2, 0, 0]), make_result([0, 1, 6, 0, 0], threshold=0.37))


def row(text, label):
    """Cells of the table line that begins with `label`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_says_what_a_reader_must_know(document):
    text = render_summary(document)
    assert "For research use only. Not a medical device" in text
    assert "5 unseen patients" in text
    assert "train 5 (CS 2, DU 3); validation 3; test 5" in text
    assert "Thresholds were set on validation patients" in text
    assert "1,234,567 parameters of which 1,230,000 prunable, input 64x96" in text
    assert "regularizer wcr at 1e-05; 8 epochs in 10 min, epoch 7 kept (validation Dice 0.812)" in text
    assert "split `0123456789ab`" in text
    assert "Seed 3" in text
    assert document.command in text
    assert "Dice = 2 tp / (2 tp + fp + fn)" in text
    assert (
        "In brackets: 95 % intervals over patients; BCa for Dice per patient, mean (`dice_patient`), Dice of all pixels"
        " together (`f1_pooled`), Dice per slice with tumour; percentile for Dice per patient, median; Clopper-Pearson,"
        " clustered by patient for Slices without tumour with a false alarm. Sparsity"
    ) in text
    assert "count one slice as one pixel" in text


def test_the_numbers_are_those_of_the_evaluations(document):
    text = render_summary(document)
    dense, pruned = (f"{network.scores['dice_patient'].value:.3f} " for network in (document.dense, document.pruned))
    cells = row(text, "Dice per patient, mean (`dice_patient`)")
    assert cells[0].startswith(dense)
    assert cells[1].startswith(pruned)
    assert row(text, "Threshold") == ["0.50", "0.37"]
    assert row(text, "Sparsity, of prunable weights") == ["0 %", "90 %"]
    assert row(text, "Sparsity, of all parameters") == ["0 %", "89.73 %"]
    assert f"mean difference of Dice {document.paired.mean_difference:+.3f}" in text
    assert "worse by more than 0.05: 1, better: 0. Largest loss: c, 0.800 to 0.400." in text


@pytest.mark.parametrize("difference", [-0.0003, 0.0, 0.0003])
def test_a_difference_that_rounds_to_zero_has_no_sign(document, difference):
    paired = dataclasses.replace(document.paired, mean_difference=difference, interval=None)
    text = render_summary(dataclasses.replace(document, paired=paired))
    assert "mean difference of Dice 0.000; Wilcoxon" in text


def test_the_ladder_puts_rungs_in_order_with_and_without_repair(document):
    text = render_summary(document)
    lines = [line for line in text.splitlines() if " % |" in line and not line.startswith("| Sparsity")]
    assert [line.split("|")[1].strip() for line in lines] == ["0 %", "90 %", "98.5 %"]
    assert row(text, "0 %")[1] == "-"
    assert row(text, "90 %")[0] == with_interval(document.ladder[1].dice_patient)


def test_every_repair_is_named_and_explained(make_document, make_result):
    result = make_result([0, 1])
    repair = ("match_variance", "tune_biases")
    ladder = tuple(LadderRow.from_result(result, sparsity=s, repair=r) for s in (0.0, 0.9) for r in ((), repair))
    text = render_summary(make_document(result, result, ladder=ladder))
    assert "`dice_patient`, channel variance matched, biases tuned |" in text
    assert "Channel variance matched: every channel's mean" in text
    assert "Biases tuned: biases and normalisation parameters alone" in text
    assert "Statistics re-estimated" not in text
    plain = render_summary(make_document(result, result, ladder=ladder[::2]))
    assert "| Sparsity | `dice_patient`, as pruned | `f1_pooled`, as pruned |" in plain
    assert "Channel variance" not in plain


def test_a_retrained_network_is_not_called_one_shot(document):
    assert "removed in one shot" in render_summary(document)
    pruned = dataclasses.replace(document.pruned, retrained_epochs=3)
    text = render_summary(dataclasses.replace(document, pruned=pruned))
    assert "removed and 3 epochs of training with the mask held (retrained: not one-shot)" in text
    assert "in one shot" not in text


def test_the_exported_file(document, make_document, make_result):
    text = render_summary(document)
    assert "7.8 times smaller than the dense one (1.00 MB for 7.80 MB)" in text
    assert "largest logit difference 3.2e-05 (allowed 1e-03)" in text
    without = render_summary(make_document(make_result([0, 1]), make_result([0, 1]), export=None))
    assert "exported file" not in without


@pytest.mark.parametrize(
    ("dense", "pruned", "words"),
    [
        ([0, 1, 2, 0] * 10, [0, 1, 2, 0] * 10, "**Non-inferior.** Even with one more patient who lost 0.1"),
        ([0, 1, 2, 0] * 10, [9, 10, 11, 10] * 10, "**Inferior.** Even with one more patient who gained 0.1"),
        ([0, 1, 2, 3] * 10, [0, 1, 2, 4] * 10, "**Inconclusive.** With one more patient"),
        ([0, 1, 2, 0], [0, 1, 2, 0], "**No verdict: too few patients.** 4\N{NO-BREAK SPACE}patients with a difference"),
    ],
)
def test_the_verdict_in_words(make_document, make_result, dense, pruned, words):
    document = make_document(make_result(dense), make_result(pruned))
    text = render_summary(document)
    assert words in text
    assert document.verdict.sentence in text


def test_patients_without_a_score_are_told(make_document, make_result):
    text = render_summary(make_document(make_result([0, None]), make_result([1, None])))
    assert "nothing to find and nothing was found: 1 (dense), 1 (pruned)" in text
    assert "on the same 1 patient:" in text


def test_a_score_that_does_not_exist_is_a_dash(make_document, make_result):
    document = make_document(make_result([None, None]), make_result([None, None]))
    text = render_summary(document)
    assert row(text, "Dice per patient, mean (`dice_patient`)") == ["-", "-"]
    assert not re.search(r"\bnan\b", text)
    assert "Wilcoxon signed-rank p = -" in text


def test_a_flip_is_told(make_document, make_result):
    document = make_document(make_result([0, 1]), make_result([0, 1]))
    paired = dataclasses.replace(document.paired, n_flipped=2)
    text = render_summary(make_document(make_result([0]), make_result([0]), paired=paired))
    assert "In 2 patients without tumour one of the two raised a false alarm alone." in text


def test_notes_thresholds_and_durations(make_document, make_result):
    result = make_result([0, 1])
    plain = make_document(result, result)
    training = plain.training.__class__(**{**vars(plain.training), "regularizer": "none", "seconds": 9000})
    text = render_summary(
        make_document(
            result,
            result,
            notes=("two slices are alike",),
            threshold_source="configuration",
            training=training,
            command=None,
        )
    )
    assert "Note: two slices are alike" in text
    assert "Thresholds were set in the configuration" in text
    assert "regularizer none; 8 epochs in 2.5 h" in text
    assert "Made by" not in text
    short = plain.training.__class__(**{**vars(plain.training), "seconds": 42})
    assert "epochs in 42 s" in render_summary(make_document(result, result, training=short))


def test_both_files_are_written_and_figures_are_shown_if_they_exist(document, tmp_path):
    write_summary(tmp_path, document)
    assert "![" not in (tmp_path / "summary.md").read_text()
    draw_sparsity(document.ladder, (tmp_path / SPARSITY_FIGURE).with_suffix(""))
    draw_patients((), (tmp_path / PATIENTS_FIGURE).with_suffix(""))
    write_summary(tmp_path, document)
    text = (tmp_path / "summary.md").read_text()
    assert "(figures/sparsity.png)" in text
    assert "(figures/patients.png)" in text


def test_the_page_is_one_page(document):
    text = render_summary(document, figures=[SPARSITY_FIGURE, PATIENTS_FIGURE])
    assert len(text.split()) < 900


def test_summary_json_holds_the_same(document, tmp_path):
    write_summary(tmp_path, document)
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored["schema_version"] == 3
    assert "research use only" in stored["notice"]
    assert stored["pruned"]["scores"]["dice_patient"]["value"] == document.pruned.scores["dice_patient"].value
    assert stored["export"]["times_smaller"] == 7.8
    assert stored["data"]["split_hash"] == document.data.split_hash
    assert [rung["sparsity"] for rung in stored["ladder"]] == [0.0, 0.9, 0.9, 0.985, 0.985]
    assert {"dice_patient", "empty_rule"} <= set(stored["definitions"])


def test_missing_scores_are_null_in_json(make_document, make_result, tmp_path):
    write_summary(tmp_path, make_document(make_result([None]), make_result([None]), export=None))
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored["dense"]["scores"]["dice_patient"]["value"] is None
    assert stored["export"] is None


def test_scores_as_text():
    assert with_interval(Score(value=0.5, low=0.25, high=0.75, n_patients=9, method="BCa"), 2) == "0.50 (0.25 to 0.75)"
    assert with_interval(Score(value=0.5, low=None, high=None, n_patients=1, method="none")) == "0.500"
    assert with_interval(Score(value=math.nan, low=None, high=None, n_patients=0, method="none")) == "-"


def test_what_pruning_cost_is_what_the_report_says(make_document, make_result):
    worst = WorstDisturbance(
        disturbance="missing_channel", strength=2.0, unit="", dense=0.012, pruned=0.0, dense_clean=0.8,
        pruned_clean=0.8, n_patients=2,
    )  # fmt: skip
    warning = "Fragile under 2 missing sequences."
    text = render_summary(
        make_document(
            make_result([0, 1, 2, 0, 0]), make_result([0, 1, 9, 0, 0]), worst_disturbance=worst, warnings=(warning,)
        )
    )
    assert "## What pruning cost" in text
    assert row(text, "False lesions, number") == ["0", "0"]
    assert row(text, "Missed lesions, of 5") == ["0", "0"]
    loud = "**Dice under the worst disturbance, 2\u00a0missing sequences (2\u00a0patients)**"
    (line,) = [line for line in text.splitlines() if loud in line]
    assert line.endswith("| **0.012** | **0.000** |")
    assert f"**Warning:** {warning}" in text.split("##")[0]  # before any table
    assert "The outcome of 1 patient changed beyond these bounds: a tumour found or missed" in text
    assert "- c: Dice 0.800 to 0.100; HD95 2.0 to 9.0 px" in text


def test_no_changed_outcome_is_said_with_its_bounds(make_document, make_result):
    same = make_result([0, 1, 2, 0, 0])
    text = render_summary(make_document(same, same, not_compared=("HD95",)))
    assert "No patient\u2019s outcome changed beyond these bounds: a tumour found or missed" in text
    assert "Dice by more than 0.05" in text
    assert "HD95 by more" not in text
    assert "not alike: HD95." in text


def test_many_changed_outcomes_are_counted(make_document, make_result):
    text = render_summary(make_document(make_result([0] * 8), make_result([9] * 8)))
    assert text.count("- a: ") == 1
    assert "- and 3 patients more; all are in the report" in text
