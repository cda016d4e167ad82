"""Patients in memory: what an evaluation reads, without files."""

from pathlib import Path

import numpy as np
import pytest

from wcr_med.data.index import PatientEntry
from wcr_med.volumes import Volume


class MemoryPatients:
    """Patients by id; `entries` for the evaluation, `load` in place of reading files."""

    def __init__(self):
        self.volumes = {}

    def add(self, patient_id, mask_SHW, *, spacing_mm=None, seed=0):
        noise = np.random.default_rng(seed).integers(1, 100, (*mask_SHW.shape, 3))
        image_SHWC = (noise + 100 * mask_SHW[..., None]).astype(np.uint8)
        self.volumes[patient_id] = Volume(
            patient_id=patient_id,
            image_SHWC=image_SHWC,
            mask_SHW=mask_SHW.astype(np.uint8),
            spacing_mm=spacing_mm,
            names=tuple(str(number) for number in range(len(mask_SHW))),
            nifti=None,
        )
        return self

    @property
    def entries(self):
        return [
            PatientEntry(patient_id=name, institution="CS", files=(), format="kaggle_3m", folder=Path(name))
            for name in self.volumes
        ]

    def load(self, entry, *, with_mask=True):
        return self.volumes[entry.patient_id]

    def predictor(self, answer):
        """A predictor that finds out which patient it is shown; `answer(volume)` gives the probabilities."""

        def predict(image_SHWC):
            (volume,) = [v for v in self.volumes.values() if np.array_equal(v.image_SHWC, image_SHWC)]
            return answer(volume).astype(np.float32)

        return predict


@pytest.fixture
def patients(monkeypatch):
    memory = MemoryPatients()
    monkeypatch.setattr("wcr_med.evaluation.evaluate.load_volume", memory.load)
    monkeypatch.setattr("wcr_med.evaluation.threshold.load_volume", memory.load)
    return memory


@pytest.fixture
def three_patients(patients):
    """A large lesion, a small one, and none."""
    for seed, (name, box) in enumerate([("large", (3, 8)), ("small", (4, 6)), ("none", (0, 0))]):
        mask_SHW = np.zeros((5, 12, 12), np.uint8)
        mask_SHW[1:3, box[0] : box[1], box[0] : box[1]] = 1
        patients.add(name, mask_SHW, seed=seed)
    return patients
