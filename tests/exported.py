"""A small pruned network and its model file, for the tests of export and runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from wcr_med.artefacts import ModelArtefact
from wcr_med.config import ExportConfig, ModelConfig
from wcr_med.export import ExportResult, export_model
from wcr_med.models import build_model, prunable_parameters
from wcr_med.onnx_file import seal
from wcr_med.preprocess import PreprocessSettings
from wcr_med.pruning import make_mask
from wcr_med.volumes import Volume

SIZE = 32


def shift_batch_norms(model: nn.Module, *, seed: int) -> None:
    """Give batch norms scales of both signs and statistics away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
            nn.init.normal_(module.running_mean, std=0.2, generator=generator)
            nn.init.uniform_(module.running_var, 0.2, 2.0, generator=generator)


def small_network(*, features: int = 2, sparsity: float = 0.8, in_channels: int = 3, seed: int = 0) -> nn.Module:
    """A pruned Buda U-Net that says different things of different pixels.

    Its kernels are as large as He et al. draw them, its batch norms have scales of both signs and statistics away from
    0 and 1.
    """
    model = build_model(ModelConfig(features=features, in_channels=in_channels), seed=seed)
    with torch.no_grad():
        for kernel in prunable_parameters(model).values():
            kernel.mul_(6**0.5)
        nn.init.zeros_(model.get_parameter("head.bias"))
    make_mask(model, "global_magnitude", sparsity).apply_(model)
    shift_batch_norms(model, seed=seed)
    return model.eval()


class Tiny(nn.Module):
    """One convolution, one batch norm, one head: traced in a moment."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.body = nn.Conv2d(in_channels, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images to logits."""
        logits = self.head(torch.relu(self.norm(self.body(image))))
        assert isinstance(logits, torch.Tensor)
        return logits


def tiny_network(in_channels: int = 3) -> nn.Module:
    """The same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny(in_channels).eval()


def open_session(source: Path | onnx.ModelProto, *, optimise: bool = True) -> onnxruntime.InferenceSession:
    """ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = source if isinstance(source, Path) else source.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def sealed(model: onnx.ModelProto) -> bytes:
    """The bytes of a model that somebody rewrote, with the checksum of what it is now."""
    return seal(model.SerializeToString())


def small_artefact(**changes: Any) -> ModelArtefact:
    """What is known about `small_network`."""
    fields: dict[str, Any] = {
        "model_config": ModelConfig(features=2).model_dump(mode="json"),
        "preprocess": PreprocessSettings(height=SIZE, width=SIZE).to_dict(),
        "split_hash": "0123abcd",
        "trained_on": ("TCGA_CS_0001", "TCGA_DU_0002"),
        "validated_on": ("TCGA_HT_0003",),
        "threshold": 0.5,
        "history": ({"step": "train", "epochs": 3}, {"step": "prune", "sparsity": 0.8}),
        "provenance": {"seed": 0},
    }
    return ModelArtefact(**{**fields, **changes})


def small_volume(*, n_slices: int = 6, size: int = 40, channels: int = 3, seed: int = 0, mask: bool = True) -> Volume:
    """A bright disc with noise in a dark frame; the lesion is a corner of it, absent from the first slice."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    head_HW = (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (0.4 * size) ** 2
    image_SHWC = rng.integers(60, 200, (n_slices, size, size, channels)) * head_HW[None, :, :, None]
    mask_SHW = np.zeros((n_slices, size, size), dtype=np.uint8)
    mask_SHW[1:, size // 4 : size // 2, size // 4 : size // 2] = 1
    return Volume(
        patient_id=f"TCGA_FG_{seed:04d}",
        image_SHWC=image_SHWC.astype(np.uint8),
        mask_SHW=mask_SHW if mask else None,
        spacing_mm=None,
        names=tuple(f"slice_{number}" for number in range(n_slices)),
        nifti=None,
    )


def export_small(
    path: Path,
    model: nn.Module,
    artefact: ModelArtefact | None = None,
    *,
    storage: Literal["auto", "dense", "gap8"] = "auto",
    channel_files: Sequence[str] | None = None,
) -> ExportResult:
    """Export with two volumes of parity; a voxel on the threshold may flip between processors."""
    return export_model(
        model,
        artefact or small_artefact(),
        ExportConfig(parity_slices=8, dice_tolerance=0.01, storage=storage),
        parity_volumes=[small_volume(seed=1), small_volume(seed=2)],
        out_path=path,
        channel_files=channel_files,
    )
