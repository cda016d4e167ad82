"""A made-up run: a small phantom, networks that are only blurred and spoilt masks, every file in its place."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from tests.report.analysis.made_up import PLANNED
from wcr_med.config import CardConfig, DataConfig, EvaluationConfig, ReportConfig
from wcr_med.data.attributes import PatientAttributes, read_attributes
from wcr_med.data.index import PatientEntry, index_patients, load_volume
from wcr_med.data.phantom import make_phantom
from wcr_med.evaluation.evaluate import evaluate_patients
from wcr_med.evaluation.result import EvaluationResult
from wcr_med.evaluation.robustness import RobustnessPoint, RobustnessResult
from wcr_med.report.clinical.inputs import Deployment, Latency, Leak, Network, Partition, ReportInputs
from wcr_med.report.document import LadderRow

EVALUATION = EvaluationConfig(resamples=200, lesion_min_voxels=4)
SETTINGS = ReportConfig(
    permutations=200, gallery_patients=6, min_subgroup=4, subgroup_columns=("laterality", "age_at_initial_pathologic")
)
N_ALL, N_TEST = 20, 14
REPAIR = ("reestimate_statistics",)
SPOILT = {"dense": 0.0, "pruned-80": 0.1, "pruned-90": 0.35}
"""By network, how much worse it is made: 0 is a mask that is only blurred."""


def make_root(folder: Path, *, blank: bool = False, clinical: bool = True) -> Path:
    """A phantom of 20 patients, 48 x 48; `blank`: every reference empty; without `clinical` there is no data.csv."""
    root = make_phantom(folder / "kaggle_3m", n_patients=N_ALL, seed=5, size=48, slices=(6, 9))
    if not clinical:
        (root / "data.csv").unlink()
    if blank:
        for path in root.rglob("*_mask.tif"):
            Image.fromarray(np.zeros((48, 48), np.uint8)).save(path)
    return root


def make_inputs(
    root: Path,
    out: Path,
    *,
    n_test: int = N_TEST,
    spoilt: Mapping[str, float] = SPOILT,
    silent: bool = False,
    spacing_mm: tuple[float, float, float] | None = None,
    settings: ReportConfig = SETTINGS,
) -> ReportInputs:
    """The inputs of a report on the phantom at `root`, with stored predictions under `out`.

    Args:
        root: of `make_root`.
        out: a folder for the predictions.
        n_test: test patients; patients without a tumour come first among them.
        spoilt: by network.
        silent: no network predicts anything.
        spacing_mm: of the images; `None`: unknown, as in TIFFs.
        settings: of the report.
    """
    entries = index_patients(DataConfig(root=root, spacing_mm=spacing_mm))
    volumes = {entry.patient_id: load_volume(entry) for entry in entries}
    order = sorted(entries, key=lambda entry: (bool(volumes[entry.patient_id].mask_SHW.any()), entry.patient_id))
    test, others = order[:n_test], order[n_test:]
    seen = {volume.image_SHWC.tobytes(): (number, volume) for number, volume in enumerate(volumes.values())}

    def predictor(network: str):
        def predict(image_SHWC):
            number, volume = seen[image_SHWC.tobytes()]
            if silent:
                return np.zeros(volume.mask_SHW.shape, np.float32)
            return _spoil(volume.mask_SHW, spoilt[network], number)

        return predict

    results = {}
    for name in spoilt:
        results[name] = evaluate_patients(
            predictor(name), test, threshold=0.4, config=EVALUATION, seed=1, split_hash="ab" * 32, keep=out / name
        )
    partition = Partition(
        name="hold-out",
        parts={
            "train": tuple(entry.patient_id for entry in others[3:]),
            "validation": tuple(entry.patient_id for entry in others[:3]),
            "test": tuple(entry.patient_id for entry in test),
        },
        split_hash="ab" * 32,
        thresholds=dict.fromkeys(spoilt, 0.4),
    )
    networks = tuple(_network(name, result, out / name) for name, result in results.items())
    return ReportInputs(
        title="A made-up run",
        command="wcr-med run --config configs/phantom.yaml --out runs/phantom",
        design="hold-out",
        source="a phantom made by this package",
        phantom=True,
        networks=networks,
        primary=networks[-1].name,
        entries={entry.patient_id: entry for entry in entries},
        attributes=_attributes(entries, root),
        partitions=(partition,),
        architecture=(("Network", "buda_unet, 4 features"), ("Optimizer", "sgd"), ("Epochs", "8 in 10 min")),
        ladder=_ladder(results),
        robustness=_robustness(results),
        leak=Leak(
            averages={"dice_patient": 0.999, "f1_pooled": 0.998},
            honest={name: results["dense"].value(name) for name in ("dice_patient", "f1_pooled")},
            n_slices_test=60,
            n_patients_shared=9,
        ),
        card=CardConfig(model_name="made-up", out_of_scope="Anything but a test of this software."),
        settings=settings,
        evaluation=EVALUATION,
        configuration={
            "seed": 1,
            "data": {"root": "kaggle_3m", "format": "kaggle_3m"},
            "model": {"name": "buda_unet", "in_channels": 3},
            "preprocess": {"height": 48, "width": 48},
        },
        provenance={
            "seed": 1,
            "commit": None,
            "versions": {"wcr-med": "0"},
            "python": "3",
            "platform": "Linux",
            "processor": "a processor, 2 cores",
        },
        notes=("A sentence that a reader must know.",),
        plan=replace(PLANNED, networks=(networks[-1].name, *(network.name for network in networks[1:-1]))),
    )


def copy_root(root: Path, folder: Path) -> Path:
    """A copy of a phantom that a test may change."""
    return Path(shutil.copytree(root, folder / "kaggle_3m"))


def _spoil(mask_SHW: np.ndarray, amount: float, seed: int) -> np.ndarray:
    """Probabilities near a mask; the more spoilt, the smaller, the more shifted, and the likelier missed or false."""
    rng = np.random.default_rng(seed)
    luck, missed, false_alarm = rng.uniform(size=3)
    shift = round(3 * amount * rng.uniform(0, 2))
    moved_SHW = ndimage.shift(mask_SHW.astype(np.float32), (0, shift, 0), order=1)
    probability_SHW = 0.98 * ndimage.gaussian_filter(moved_SHW, (0.3, 0.8 + 2 * amount * luck, 0.8 + 2 * amount * luck))
    if missed < amount / 3:
        probability_SHW *= 0.3
    if false_alarm < amount or (amount and not mask_SHW.any()):
        probability_SHW[2:4, 4:8, 4:8] = 0.7
    noise_SHW = 0.02 * rng.uniform(size=mask_SHW.shape)
    return np.clip(probability_SHW + noise_SHW, 0, 1).astype(np.float32)


def _network(name: str, result: EvaluationResult, folder: Path) -> Network:
    sparsity = 0.0 if name == "dense" else int(name.removeprefix("pruned-")) / 100
    size_bytes = int(1_200_000 * (1 - 0.95 * sparsity))
    file = Deployment(
        file=f"{name}.onnx",
        size_bytes=size_bytes,
        dense_bytes=1_200_000,
        logit_difference=3.2e-5,
        dice_difference=0.0,
        n_slices=64,
        latency=(
            Latency(threads=1, p50_ms=9.6 - 4 * sparsity, p95_ms=11.2, n_runs=30),
            Latency(threads=2, p50_ms=5.6 - 2 * sparsity, p95_ms=7.2, n_runs=30),
        ),
        peak_memory_bytes=151_000_000,
        processor="a processor, 2 cores",
    )
    return Network(
        name=name,
        sparsity_prunable=sparsity,
        sparsity_all=0.997 * sparsity,
        n_prunable=121_000,
        n_all=122_345,
        repair=() if name == "dense" else REPAIR,
        retrained_epochs=0,
        result=result,
        folders={row.patient_id: folder for row in result.rows},
        deployment=(file,),
    )


def _attributes(entries: Sequence[PatientEntry], root: Path) -> dict[str, PatientAttributes]:
    return read_attributes(entries, root)


def _ladder(results: Mapping[str, EvaluationResult]) -> tuple[LadderRow, ...]:
    rows = [LadderRow.from_result(results["dense"], sparsity=0.0)]
    for name, result in results.items():
        if name != "dense":
            sparsity = int(name.removeprefix("pruned-")) / 100
            rows += [LadderRow.from_result(result, sparsity=sparsity, repair=repair) for repair in ((), REPAIR)]
    return tuple(rows)


def _robustness(results: Mapping[str, EvaluationResult]) -> RobustnessResult:
    points = []
    for name, result in results.items():
        dice = {row.patient_id: row.dice for row in result.rows}
        points.append(RobustnessPoint(network=name, disturbance="none", strength=0.0, dice=dice))
        for disturbance, strengths in (("noise", (0.1, 0.2)), ("missing_channel", (1.0,))):
            for strength in strengths:
                weaker = {patient_id: value * (1 - strength / 2) for patient_id, value in dice.items()}
                points.append(RobustnessPoint(network=name, disturbance=disturbance, strength=strength, dice=weaker))
    return RobustnessResult(
        points=tuple(points),
        units={"noise": "standard deviation in spreads of the patient's intensities", "missing_channel": "share"},
        seed=1,
    )
