import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from wcr_med.config import EvaluationConfig
from wcr_med.evaluation import evaluate_patients, score_patient
from wcr_med.evaluation.summarise import LESION_DEFINITIONS
from wcr_med.evaluation.tables import LESION_COLUMNS, patient_record
from wcr_med.metrics.averages import DEFINITIONS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("distances", [True, False])
def test_metrics_json_is_what_its_documentation_says(three_patients, tmp_path, level, distances):
    schema = json.loads(re.search(r"```json\n(.*?)```", DOCUMENT, re.DOTALL).group(1))
    result = evaluate_patients(
        three_patients.predictor(lambda volume: np.full(volume.mask_SHW.shape, level)),
        three_patients.entries,
        threshold=0.5,
        config=EvaluationConfig(resamples=20),
        distances=distances,
    )
    result.save(tmp_path)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((tmp_path / "metrics.json").read_text()), schema)


def test_every_average_is_documented(three_patients):
    result = evaluate_patients(
        three_patients.predictor(lambda volume: volume.mask_SHW),
        three_patients.entries,
        threshold=0.5,
        config=EvaluationConfig(resamples=20),
    )
    names = [*DEFINITIONS, *LESION_DEFINITIONS, *(re.sub(r"nsd_.*px", "nsd_<tolerance>px", n) for n in result.averages)]
    assert not [name for name in names if f"`{name}`" not in DOCUMENT]


def test_every_column_of_the_tables_is_documented(three_patients):
    row, _ = score_patient(np.ones((1, 3, 3), np.uint8), np.ones((1, 3, 3), np.uint8), patient_id="a")
    plain = DOCUMENT.replace('"', "`")
    assert not [
        name for name in (*patient_record(row), *LESION_COLUMNS) if f"`{name}`" not in plain and "nsd" not in name
    ]
