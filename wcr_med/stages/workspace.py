"""The run folder: what lies where, and which stages are already done."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from wcr_med.config import Config, load_config
from wcr_med.errors import UserError
from wcr_med.files import read_json, sha256_of_file, sha256_of_json, write_json
from wcr_med.locks import holding, remove_unfinished
from wcr_med.preprocess import PreprocessSettings
from wcr_med.stages.saved_config import check_saved, write_saved

log = logging.getLogger(__name__)

DENSE = "dense"
RECORD_VERSION = 2
"""Of the records under `.done`. The first named outputs without their folder, and no inputs."""

_NETWORKS = (".safetensors", ".onnx")

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A run folder and its resolved configuration.

    Layout: `config.yaml`, `split.json`, `audit.json`; `train/` (checkpoints and logs), `models/NAME.safetensors`,
    `ladder/`, `evaluation/NAME/`, `export/NAME.onnx` and `NAME.deployment.json`, `robustness.json`, `leak.json`,
    `figures/`, `summary.json`, `summary.md`, `report/`. Of several folds `folds/NAME/`, each a run folder, and for all
    of them together `config.yaml`, `audit.json`, `leak.json` and `report/`. Hidden: `.done/`, the records that vouch
    for all this, and `.lock`.

    Attributes:
        out: the folder.
        config: resolved.
        notes: sentences about how the configuration was come by that a reader of the results must know.
    """

    out: Path
    config: Config
    notes: tuple[str, ...] = ()

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
        return self.out / "models" / f"{_plain_name(name)}.safetensors"

    def onnx_path(self, name: str) -> Path:
        """Where the exported network called `name` lies."""
        return self.out / "export" / f"{_plain_name(name)}.onnx"

    def evaluation_folder(self, name: str) -> Path:
        """Where the scores of the network called `name` lie."""
        return self.out / "evaluation" / _plain_name(name)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other commands out of the run folder; remove unfinished files that one that was killed left in it.

        A fold also keeps out commands on its whole study, but not on other folds.

        Raises:
            UserError: another command works in the folder, on the study that it is a fold of, or on one of its folds.
        """
        with contextlib.ExitStack() as stack:
            study = study_folder(self.out)
            if study is not None:
                stack.enter_context(holding(study, shared=True))
            if stack.enter_context(holding(self.out)):
                remove_unfinished(self.out, leave=[self.config.data.cache])
            yield

    def once(
        self, stage: str, *, key: Any, inputs: Sequence[Path], outputs: Sequence[Path], work: Callable[[], None]
    ) -> None:
        """Do a stage's work unless it was done before with the same key and the same input files.

        A result that was damaged or replaced since then is made again: what a record vouches for is its content.

        Args:
            stage: its name, which names the record under `out/.done`.
            key: JSON-ready; whatever else the result depends on.
            inputs: files that the work reads; they count by content.
            outputs: files or folders that the work leaves; for the record to count all must exist, and files must be
                as the work left them.
            work: does it. A record is written only after it returned.
        """
        if self.is_done(stage, key=key, inputs=inputs, outputs=outputs):
            log.info("%s: done before with the same settings, kept", stage)
            return
        log.info("%s: started", stage)
        read = {self._name(path): sha256_of_file(path) for path in inputs}  # not what stands there later
        work()
        written = {self._name(path): sha256_of_file(path) for path in outputs if path.is_file()}
        write_json(
            self._record(stage),
            {
                "fingerprint": _fingerprint(key, read.values()),
                "schema_version": RECORD_VERSION,
                "inputs": read,
                "outputs": written,
            },
        )

    def is_done(self, stage: str, *, key: Any, inputs: Sequence[Path], outputs: Sequence[Path]) -> bool:
        """Whether `once`, with the same arguments, would do nothing."""
        try:
            before = _read_record(self._record(stage))
        except UserError as error:
            log.info("%s; the stage is done again", error)
            return False
        digests = (sha256_of_file(path) for path in inputs)
        if before.get("fingerprint") != _fingerprint(key, digests) or not all(path.exists() for path in outputs):
            return False
        contents, old = before.get("outputs", {}), before.get("schema_version", 1) == 1
        for path in outputs:
            name = path.name if old else self._name(path)
            if name in contents and contents[name] != sha256_of_file(path):
                log.info("%s: was changed since it was written, so it is made again", path)
                return False
            if name not in contents and path.is_file() and not old:
                return False
        return True

    def vouch(self, stage: str) -> None:
        """Refuse what a stage left if any of its files was changed since, or is of networks that were exchanged since.

        A folder of an older version, or one without its hidden records, is told of in the log.

        Raises:
            UserError: the message names the file. Files that are missing are left to those who read them.
        """
        path = self._record(stage)
        record = _read_record(path)
        if record.get("schema_version", 1) == 1:
            log.info("%s: nothing vouches for what %s left; whether it was changed cannot be told", self.out, stage)
            return
        for name, digest in record["outputs"].items():
            file = self.out / name
            if file.is_file() and sha256_of_file(file) != digest:
                raise UserError(
                    f"{file}: was changed or damaged after it was written; give the command that wrote it again, such"
                    f" as `wcr-med run --out {self.out}`"
                )
        for name, digest in record["inputs"].items():
            file = self.out / name
            if file.suffix in _NETWORKS and file.is_file() and sha256_of_file(file) != digest:
                raise UserError(
                    f"{file}: is another network than the one that {stage} was made with; give `wcr-med run --out"
                    f" {self.out}` to bring all results to one state, or restore the file"
                )

    def _name(self, path: Path) -> str:
        """How records call a file: by its place in the run folder, wherever that is moved to."""
        return path.relative_to(self.out).as_posix() if path.is_relative_to(self.out) else str(path)

    def _record(self, stage: str) -> Path:
        return self.out / ".done" / f"{stage}.json"


def open_workspace(out: Path, *, config_path: Path | None, assignments: Sequence[str] = ()) -> Workspace:
    """Open or create a run folder.

    Args:
        out: the run folder.
        config_path: the configuration; `None` takes the one saved in the folder.
        assignments: `field.subfield=value` on top of it.

    Raises:
        UserError: no configuration is given and none is saved, it is not valid or the saved one not whole, or results
            would lie among the images.
    """
    saved = out / "config.yaml"
    if (out / "trials").is_dir() or (out / "study.db").exists():
        raise UserError(f"{out}: holds a comparison, whose config.yaml a run would replace; choose another --out")
    if config_path is None and not saved.exists():
        raise UserError(f"{out}: holds no config.yaml; give --config the first time")
    notes = check_saved(saved, Config) if config_path is None else ()
    config = load_config(config_path or saved, assignments)
    require_apart(out, config)
    return Workspace(out=out, config=config, notes=notes)


def require_apart(out: Path, config: Config) -> None:
    """Refuse results and caches among the images.

    Raises:
        UserError: `out` or data.cache lies in data.root.
    """
    root = config.data.root
    for name, folder in (("--out", out), ("data.cache", config.data.cache)):
        if folder.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{name} {folder}: lies in data.root {root}, whose folders are patients; choose another")


def save_config(workspace: Workspace) -> None:
    """Write the resolved configuration beside the results."""
    write_saved(workspace.out / "config.yaml", workspace.config)


def folds_folder(out: Path) -> Path:
    """Where a study of several partitions keeps the run folders of its folds."""
    return out / "folds"


def study_folder(out: Path) -> Path | None:
    """The folder of the study that `out` is a fold of; `None` where it is none."""
    inside = out.resolve().parent
    study = inside.parent
    return study if inside == folds_folder(study) and (study / "config.yaml").exists() else None


def alone(stage: Callable[Concatenate[Workspace, P], R]) -> Callable[Concatenate[Workspace, P], R]:
    """Make a stage hold its run folder while it works; see `Workspace.alone`."""

    @functools.wraps(stage)
    def held(workspace: Workspace, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with workspace.alone():
            return stage(workspace, *args, **kwargs)

    return held


def pruned_name(sparsity: float) -> str:
    """The name of a network pruned to a sparsity: 0.9 -> "pruned-90", 0.985 -> "pruned-98.5"."""
    return f"pruned-{100 * sparsity:.6g}"


def _plain_name(name: str) -> str:
    if name in ("", "..") or name != Path(name).name:
        raise UserError(f"--model {name!r}: not the name of a network; give it without folder and suffix, like {DENSE}")
    return name


def _fingerprint(key: Any, digests: Iterable[str]) -> str:
    return sha256_of_json({"key": key, "inputs": list(digests)})


def _read_record(path: Path) -> dict[str, Any]:
    """A stage's record; empty where there is none.

    Raises:
        UserError: it is damaged.
    """
    if not path.exists():
        return {}
    record = read_json(path)
    parts = ("inputs", "outputs") if isinstance(record, dict) and record.get("schema_version") == RECORD_VERSION else ()
    if not isinstance(record, dict) or not all(isinstance(record.get(name), dict) for name in parts):
        raise UserError(f"{path}: not a record of a stage; give the command of the stage again")
    return record
