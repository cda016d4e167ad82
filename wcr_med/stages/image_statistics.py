"""What the training images look like, for the files of the network: `infer` compares images with it."""

import logging
from dataclasses import replace
from typing import Any

from wcr_med.artefacts import ModelArtefact
from wcr_med.data.index import load_volume
from wcr_med.plausibility import doubts, fit_statistics, look
from wcr_med.preprocess import survey
from wcr_med.progress import track
from wcr_med.stages.inputs import Patients
from wcr_med.stages.workspace import Workspace

log = logging.getLogger(__name__)

MOST_PATIENTS = 100
"""Training patients that are looked at, spread over the index."""


def described(workspace: Workspace, patients: Patients, artefact: ModelArtefact) -> ModelArtefact:
    """The artefact with the names of its channels and the statistics of its training images; what it has stays.

    Images that preprocessing does not expect are named in a warning.

    Args:
        workspace: its configuration names the channels and preprocesses the images.
        patients: of the run; those of the training partition are read.
        artefact: of a network that was trained on them.

    Raises:
        UserError: an image cannot be read.
    """
    names = artefact.channels or workspace.config.channel_names
    found = artefact.image_statistics
    if found is None:
        found = statistics_of(workspace, patients, names)
    return replace(artefact, channels=names, image_statistics=found)


def statistics_of(workspace: Workspace, patients: Patients, names: tuple[str, ...] | None) -> dict[str, Any] | None:
    """The statistics of the training images, JSON-ready; `None` where there are no training patients.

    Images that preprocessing does not expect are named in a warning.

    Args:
        workspace: its configuration preprocesses the images.
        patients: of the run; those of the training partition are read.
        names: of the channels, for the warnings; `None`: numbers.

    Raises:
        UserError: an image cannot be read.
    """
    entries = patients.of(patients.split.train)
    entries = entries[:: -(-len(entries) // MOST_PATIENTS)] if entries else ()
    seen = []
    for entry in track(entries, label="look at the images", unit="patient", total=len(entries), log=log):
        volume = load_volume(entry, with_mask=False)
        found = look(volume.image_SHWC, survey(volume.image_SHWC, workspace.settings))
        for doubt in doubts(found, None, names):
            log.warning("%s: %s", entry.folder, doubt)
        seen.append(found)
    statistics = fit_statistics(seen)
    return None if statistics is None else statistics.to_dict()
