"""Every file of deploy/ against the schema or the linter of its kind."""

import json
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.manifests import COMPOSE, COMPOSE_GPU, KUBERNETES, SLURM, documents

OLDEST = "1.31"
"""Where podFailurePolicy became stable."""


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_manifests_are_of_the_kubernetes_schema(path: Path, version: str) -> None:
    assert documents(path)
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_kubernetes_schema_sees_a_misspelt_field() -> None:
    (path,) = [path for path in KUBERNETES if path.name == "train-job.yaml"]
    (job,) = documents(path)
    job["spec"]["podFailurePolicies"] = job["spec"].pop("podFailurePolicy")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, OLDEST, strict=True)


@pytest.mark.parametrize("path", [COMPOSE, COMPOSE_GPU], ids=lambda path: path.name)
def test_compose_files_are_of_the_compose_schema(path: Path) -> None:
    vendored = resources.files("check_jsonschema.builtin_schemas") / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    (document,) = documents(path)
    jsonschema.validate(document, schema)


def test_docker_reads_the_compose_files() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("no docker compose on this machine")
    files = ["--file", str(COMPOSE), "--file", str(COMPOSE_GPU), "--profile", "*"]
    subprocess.run([docker, "compose", *files, "config", "--quiet"], check=True, timeout=60)


def test_the_slurm_script_passes_bash_and_shellcheck() -> None:
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    shellcheck = Path(sys.executable).parent / "shellcheck"
    if not shellcheck.exists():
        pytest.skip("no shellcheck beside this Python")
    found = subprocess.run([str(shellcheck), str(SLURM)], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
