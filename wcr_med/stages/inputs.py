"""What every stage starts from: the patients, their split, their prepared slices."""

import glob
import logging
import shutil
from dataclasses import dataclass

from wcr_med.config import DataConfig
from wcr_med.data.audit import audit
from wcr_med.data.cache import SliceCache, prepare_cache
from wcr_med.data.content import content_hash
from wcr_med.data.index import PatientEntry, index_patients
from wcr_med.data.parallel import alone as wait_alone
from wcr_med.data.phantom import make_phantom
from wcr_med.data.split import Split, make_split
from wcr_med.errors import UserError
from wcr_med.files import explain_os_errors, write_json
from wcr_med.provenance import available_cores
from wcr_med.stages.workspace import Workspace, folds_folder

log = logging.getLogger(__name__)

_PHANTOM_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Patients:
    """The patients of a run, their partition, and the hash of their images and masks."""

    entries: tuple[PatientEntry, ...]
    split: Split
    data_hash: str

    def of(self, patient_ids: tuple[str, ...]) -> tuple[PatientEntry, ...]:
        """The entries of these patients, in the order of the index."""
        wanted = set(patient_ids)
        return tuple(entry for entry in self.entries if entry.patient_id in wanted)


def open_patients(workspace: Workspace, *, save: bool = True) -> Patients:
    """Index the data and make the split, or read back the one this folder already has.

    Args:
        workspace: the run folder and its configuration.
        save: write a split that is not there yet; off in the other processes of a training.

    Raises:
        UserError: the data cannot be indexed, the saved split belongs to other settings or other patients, or the
            folder holds a study of several folds.
    """
    config = workspace.config
    if folds_folder(workspace.out).is_dir() and not config.split.in_turn:
        raise UserError(
            f"{workspace.out}: holds the folds of a study, and this configuration is of one partition; choose another"
            " --out, or one of its folds"
        )
    ensure_phantom(config.data)
    entries = index_patients(config.data)
    split = make_split(entries, config.split)
    if workspace.split_path.exists():
        saved = Split.load(workspace.split_path)
        if saved.hash != split.hash:
            raise UserError(
                f"{workspace.split_path}: was made from other patients or other split settings; choose another --out"
            )
    elif save:
        split.save(workspace.split_path)
    return Patients(entries=entries, split=split, data_hash=content_hash(entries))


def declared_spacing(workspace: Workspace) -> dict[str, list[float]]:
    """What `data.spacing_mm` adds to the key of a stage that measures distances or volumes; nothing where it is null.

    No weight depends on it, so it is no part of the data's hash, and a change of it scores again but does not train.
    """
    spacing_mm = workspace.config.data.spacing_mm
    return {} if spacing_mm is None else {"spacing_mm": list(spacing_mm)}


def ensure_phantom(config: DataConfig) -> None:
    """Write the phantom where the configuration asks for one and the folder is not there yet."""
    if not config.phantom_patients or config.root.exists():
        return
    waiting = f"another process writes the phantom {config.root}: waiting for it"
    with (
        explain_os_errors(config.root),
        wait_alone(config.root.parent / f".lock-{config.root.name}", log=log, waiting=waiting),
    ):
        for unfinished in config.root.parent.glob(f".partial-????????-{glob.escape(config.root.name[-40:])}"):
            shutil.rmtree(unfinished, ignore_errors=True)
        if config.root.exists():
            return
        log.info("writing a phantom of %d patients to %s", config.phantom_patients, config.root)
        make_phantom(config.root, n_patients=config.phantom_patients, seed=_PHANTOM_SEED)


def open_cache(workspace: Workspace, patients: Patients) -> SliceCache:
    """The prepared slices of all patients; made on the first call, opened within a second later.

    Raises:
        UserError: a patient's files are bad, or the images have another number of channels than the network takes.
    """
    config = workspace.config
    cache = prepare_cache(
        patients.entries, workspace.settings, config.data.cache, workers=available_cores(), progress=True
    )
    n_channels = cache.images_NChw.shape[1]
    if n_channels != config.model.in_channels:
        raise UserError(
            f"model.in_channels is {config.model.in_channels}, but the images have {n_channels} channels;"
            f" set model.in_channels to {n_channels}"
        )
    return cache


def check_data(workspace: Workspace) -> None:
    """Audit the data, keep the findings as audit.json, and refuse to go on after an error.

    Raises:
        UserError: the audit found an error; the message holds the first.
    """
    ensure_phantom(workspace.config.data)
    report = audit(workspace.config.data, progress=True, in_channels=workspace.config.model.in_channels)
    write_json(workspace.out / "audit.json", report.to_dict())
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if errors:
        raise UserError(
            f"{errors[0].file or errors[0].patient_id}: {errors[0].message}"
            f" (errors in all: {len(errors)}; `wcr-med data check {workspace.config.data.root}` lists them)"
        )
    warnings = sum(finding.severity == "warning" for finding in report.findings)
    log.info("data: no errors, %d warnings; see %s", warnings, workspace.out / "audit.json")
