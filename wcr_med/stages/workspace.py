"""The run folder: what lies where, and which stages are already done."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wcr_med.config import Config, load_config
from wcr_med.errors import UserError
from wcr_med.files import read_json, sha256_of_file, sha256_of_json, write_json, write_text
from wcr_med.preprocess import PreprocessSettings

log = logging.getLogger(__name__)

DENSE = "dense"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A run folder and its resolved configuration.

    Layout: `config.yaml`, `split.json`, `audit.json`; `train/` (checkpoints and logs), `models/NAME.safetensors`,
    `ladder/`, `evaluation/NAME/`, `export/NAME.onnx`, `figures/`, `summary.json`, `summary.md`.
    """

    out: Path
    config: Config

    @property
    def settings(self) -> PreprocessSettings:
        """The preprocessing that every network of this run is trained with."""
        return PreprocessSettings.from_dict(self.config.preprocess.model_dump())

    @property
    def split_path(self) -> Path:
        """The saved split."""
        return self.out / "split.json"

    @property
    def train_folder(self) -> Path:
        """Checkpoints, histories and TensorBoard files."""
        return self.out / "train"

    def model_path(self, name: str) -> Path:
        """Where the network called `name` lies."""
        return self.out / "models" / f"{name}.safetensors"

    def onnx_path(self, name: str) -> Path:
        """Where the exported network called `name` lies."""
        return self.out / "export" / f"{name}.onnx"

    def evaluation_folder(self, name: str) -> Path:
        """Where the scores of the network called `name` lie."""
        return self.out / "evaluation" / name

    def once(
        self, stage: str, *, key: Any, inputs: Sequence[Path], outputs: Sequence[Path], work: Callable[[], None]
    ) -> None:
        """Do a stage's work unless it was done before with the same key and the same input files.

        Args:
            stage: its name, which names the record under `out/.done`.
            key: JSON-ready; whatever else the result depends on.
            inputs: files that the work reads; they count by content.
            outputs: files or folders that the work leaves; all must exist for the record to count.
            work: does it. A record is written only after it returned.
        """
        fingerprint = sha256_of_json({"key": key, "inputs": [sha256_of_file(path) for path in inputs]})
        record = self.out / ".done" / f"{stage}.json"
        if (
            record.exists()
            and all(path.exists() for path in outputs)
            and read_json(record) == {"fingerprint": fingerprint}
        ):
            log.info("%s: done before with the same settings, kept", stage)
            return
        log.info("%s: started", stage)
        work()
        write_json(record, {"fingerprint": fingerprint})


def open_workspace(out: Path, *, config_path: Path | None, assignments: Sequence[str] = ()) -> Workspace:
    """Open or create a run folder.

    Args:
        out: the run folder.
        config_path: the configuration; `None` takes the one saved in the folder.
        assignments: `field.subfield=value` on top of it.

    Raises:
        UserError: no configuration is given and none is saved, or it is not valid.
    """
    saved = out / "config.yaml"
    if config_path is None and not saved.exists():
        raise UserError(f"{out}: holds no config.yaml; give --config the first time")
    return Workspace(out=out, config=load_config(config_path or saved, assignments))


def save_config(workspace: Workspace) -> None:
    """Write the resolved configuration beside the results."""
    write_text(workspace.out / "config.yaml", workspace.config.to_yaml())


def pruned_name(sparsity: float) -> str:
    """The name of a network pruned to a sparsity: 0.9 -> "pruned-90", 0.985 -> "pruned-98.5"."""
    return f"pruned-{100 * sparsity:.6g}"
