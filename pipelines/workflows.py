"""One MONAI workflow a stage; each calls the function that the `wcr-med` command of the same name calls.

    python -m monai.bundle run_workflow --workflow_name pipelines.workflows.RunWorkflow \
        --config_file configs/phantom.yaml --meta_file configs/metadata.json --out runs/demo --training#epochs 3

Fields of the configuration are overridden in MONAI's own way, `--section#field value`.
"""

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

from monai.bundle import BundleWorkflow

from wcr_med.errors import UserError
from wcr_med.files import read_json
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.export import export_stage
from wcr_med.stages.prune import prune_stage
from wcr_med.stages.report import report_stage
from wcr_med.stages.run import run_stages
from wcr_med.stages.train import train_stage
from wcr_med.stages.workspace import DENSE, Workspace, open_workspace

_METADATA = Path(__file__).resolve().parent.parent / "configs" / "metadata.json"


class StageWorkflow(BundleWorkflow):  # type: ignore[misc]  # monai publishes no types
    """A workflow over a run folder. Its properties are those of the bundle's metadata.

    Args:
        out: the run folder.
        config_file: YAML configuration; `None` takes the one saved in the run folder.
        meta_file: the bundle's metadata.json.
        logging_file: configuration of Python's `logging`.
        overrides: `section#field=value` for the configuration.

    Raises:
        UserError: the configuration is missing or not valid.
    """

    def __init__(
        self,
        *,
        out: str,
        config_file: str | None = None,
        meta_file: str = str(_METADATA),
        logging_file: str | None = None,
        **overrides: Any,
    ) -> None:
        super().__init__(workflow_type=None, meta_file=meta_file, logging_file=logging_file)
        self._out = Path(out)
        self._config_path = Path(config_file) if config_file else None
        self._assignments = [f"{name.replace('#', '.')}={json.dumps(value)}" for name, value in overrides.items()]
        self._workspace: Workspace | None = None
        self._values: dict[str, Any] = {}

    def initialize(self) -> None:
        """Read and check the configuration."""
        self._workspace = open_workspace(self._out, config_path=self._config_path, assignments=self._assignments)

    def run(self) -> None:
        """Do the stage's work."""
        if self._workspace is None:
            self.initialize()
        assert self._workspace is not None
        self._stage(self._workspace)

    def finalize(self) -> None:
        """Nothing is held open."""

    @abstractmethod
    def _stage(self, workspace: Workspace) -> None: ...

    def _get_property(self, name: str, property: dict[str, Any]) -> Any:  # noqa: A002 - the base class names it so
        if name in self._values:
            return self._values[name]
        value = read_json(Path(self.meta_file), ours=False)
        for key in property["id"].split("::")[1:]:
            if not isinstance(value, dict) or key not in value:
                raise UserError(f"{self.meta_file}: {name} is missing; add it")
            value = value[key]
        return value

    def _set_property(self, name: str, property: dict[str, Any], value: Any) -> None:  # noqa: A002, ARG002, RUF100
        self._values[name] = value


class RunWorkflow(StageWorkflow):
    """The whole job."""

    def _stage(self, workspace: Workspace) -> None:
        run_stages(workspace)


class TrainWorkflow(StageWorkflow):
    """Train the dense network."""

    def _stage(self, workspace: Workspace) -> None:
        train_stage(workspace)


class PruneWorkflow(StageWorkflow):
    """Prune the dense network to the configuration's sparsity."""

    def _stage(self, workspace: Workspace) -> None:
        prune_stage(workspace)


class ReportWorkflow(StageWorkflow):
    """Write the clinical-style report of a finished run; opens no network."""

    def _stage(self, workspace: Workspace) -> None:
        report_stage(workspace)


class _NamedNetworkWorkflow(StageWorkflow):
    """A stage that works on one network of the run folder.

    Args:
        model: its name: "dense", "pruned-90", ...
        arguments: as of StageWorkflow.
    """

    def __init__(self, *, model: str = DENSE, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._model = model


class EvaluateWorkflow(_NamedNetworkWorkflow):
    """Score a network on the test patients."""

    def _stage(self, workspace: Workspace) -> None:
        evaluate_stage(workspace, self._model)


class ExportWorkflow(_NamedNetworkWorkflow):
    """Export a network to ONNX."""

    def _stage(self, workspace: Workspace) -> None:
        export_stage(workspace, self._model)
