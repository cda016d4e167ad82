"""The files of deploy/, read; and the commands in them, as the shell of a container would split them."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE = DEPLOY / "compose" / "compose.yaml"
COMPOSE_GPU = DEPLOY / "compose" / "gpu.yaml"
SLURM = DEPLOY / "slurm" / "train.sbatch"

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def jobs() -> dict[str, Document]:
    """The Jobs by name."""
    found = [document for path in KUBERNETES for document in documents(path) if document["kind"] == "Job"]
    return {job["metadata"]["name"]: job for job in found}


def pod_specs() -> dict[str, Document]:
    """The specification of every pod, of a Job or by itself, by name."""
    specs = {name: job["spec"]["template"]["spec"] for name, job in jobs().items()}
    pods = [document for path in KUBERNETES for document in documents(path) if document["kind"] == "Pod"]
    return specs | {pod["metadata"]["name"]: pod["spec"] for pod in pods}


def container(pod: Document) -> Document:
    (only,) = pod["containers"]
    return dict(only)


def environment(pod: Document) -> dict[str, str]:
    """What stands in the manifest; not what the cluster fills in."""
    return {entry["name"]: entry["value"] for entry in container(pod)["env"] if "value" in entry}


def words(script: str, variables: dict[str, str], folder: Path) -> list[str]:
    """The words of the last command of a shell script that ends in `exec`, as a real shell expands them.

    Args:
        script: of a container.
        variables: its environment.
        folder: empty; gets a program for the shell to run in place of the real one.
    """
    told = folder / "words"
    for program in ("python", "wcr-med"):
        stand_in = folder / program
        stand_in.write_text(
            f'#!/bin/sh\nfor word in {program} "$@"; do printf "%s\\n" "$word"; done > {shlex.quote(str(told))}\n'
        )
        stand_in.chmod(0o755)
    path = f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"
    subprocess.run(["/bin/sh", "-c", script], env=variables | {"PATH": path}, check=True, timeout=60)
    return told.read_text(encoding="utf-8").splitlines()


def job_words(name: str, folder: Path) -> list[str]:
    """The words of a Job's command; of pod 0, where there are several."""
    pod = jobs()[name]["spec"]["template"]["spec"]
    inside = container(pod)
    assert inside["command"] == ["/bin/sh", "-c"]
    (script,) = inside["args"]
    cluster = {"JOB_COMPLETION_INDEX": "0", "POD_ADDRESS": "127.0.0.1"}
    return words(script, environment(pod) | cluster, folder)
