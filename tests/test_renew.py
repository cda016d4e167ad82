"""A network in models/ gets the statistics of its training images without its run, and answers as before."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from models import renew as renewing
from tests.exported import SIZE, export_small, small_artefact, small_volume, tiny_network
from tests.plausibility.heads import write_heads
from wcr_med.config import Config, parse_config
from wcr_med.data.index import index_patients
from wcr_med.data.split import make_split
from wcr_med.errors import UserError
from wcr_med.export.standalone import build_standalone
from wcr_med.export.writing import write_model
from wcr_med.model_metadata import METADATA_KEY, ModelMetadata
from wcr_med.plausibility import ImageStatistics
from wcr_med.runtime import Segmenter

N_PATIENTS = 13


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of a data set of its own, with its split and a licence."""
    root = tmp_path_factory.mktemp("data") / "kaggle_3m"
    write_heads(root, N_PATIENTS)
    document = {
        "data": {"root": str(root)},
        "split": {"validation_patients": 1, "test_patients": 1},
        "training": {"epochs": 1},
        "preprocess": {"height": SIZE, "width": SIZE},
        "card": {"model_name": "net", "developers": "we", "licence": "CC BY-NC-SA 4.0"},
    }
    return parse_config(document, source="test")


@pytest.fixture(scope="module")
def exported(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of that split, as an earlier version exported it: without statistics."""
    split = make_split(index_patients(config.data), config.split)
    path = tmp_path_factory.mktemp("models") / "net.onnx"
    result = export_small(path, tiny_network(), small_artefact(split_hash=split.hash))
    write_model(build_standalone(onnx.load(path), result.metadata), path.with_suffix(".standalone.onnx"))
    return path


@pytest.fixture
def path(exported: Path, tmp_path: Path) -> Path:
    """A copy of it, with its standalone form beside it."""
    for name in (exported.name, f"{exported.stem}.standalone.onnx"):
        shutil.copyfile(exported.with_name(name), tmp_path / name)
    return tmp_path / exported.name


def test_statistics_of_the_training_patients_and_the_same_answers(config: Config, path: Path) -> None:
    image_SHWC = small_volume().image_SHWC
    with Segmenter.from_file(path, threads=1) as segmenter:
        before, said = segmenter.probability(image_SHWC), segmenter.metadata
    assert said.image_statistics is None
    models = renewing.renewed_models(path, config)
    assert set(models) == {path, path.with_suffix(".standalone.onnx")}
    for file, model in models.items():
        assert model.graph == onnx.load(file).graph
        text = next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
        found = ModelMetadata.from_json(text, source="x")
        assert found.image_statistics is not None
        statistics = ImageStatistics.from_dict(found.image_statistics, source="x")
        assert statistics.n_images == N_PATIENTS - 2
        assert statistics.usable
        assert "TCGA_" not in str(found.image_statistics)
    write_model(models[path], path)
    with Segmenter.from_file(path, threads=1) as segmenter:
        assert np.array_equal(segmenter.probability(image_SHWC), before)
    elsewhere = config.model_copy(update={"data": config.data.model_copy(update={"root": path.parent / "nowhere"})})
    again = renewing.renewed_models(path, elsewhere)  # what a file has stays, and needs no patient
    assert again[path].graph == models[path].graph


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("split", {"seed": 5}, r"kaggle_3m: gives split [0-9a-f]{12}, the network was trained on [0-9a-f]{12}; give"),
        ("preprocess", {"low_percentile": 2.0}, r"^preprocess: is not the network's; give"),
    ],
)
def test_other_patients_than_those_of_its_training_are_refused(
    config: Config, path: Path, section: str, values: dict[str, float], words: str
) -> None:
    other = config.model_copy(update={section: getattr(config, section).model_copy(update=values)})
    content = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(UserError, match=words) as refused:
        renewing.renewed_models(path, other)
    assert "\n" not in str(refused.value)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == content


def test_nothing_is_given_where_an_answer_would_change(
    config: Config, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = onnx.load(path), onnx.load(path)
    kernel = next(tensor for tensor in new.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    kernel.raw_data = np.full(tuple(kernel.dims), 0.1, np.float32).tobytes()
    given = iter([new, old])
    monkeypatch.setattr(renewing.onnx, "load", lambda _: next(given))
    with pytest.raises(UserError, match="its graph would change; nothing was written"):
        renewing.with_facts(path, config, None)
