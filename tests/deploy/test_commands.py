"""Every command line of deploy/ is understood by the command itself, on a phantom in place of the claims."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.deploy.manifests import COMPOSE, COMPOSE_GPU, REPOSITORY, SLURM, documents, job_words, jobs
from wcr_med.cli import app


@pytest.fixture
def dry_run(phantom_root: Path, tmp_path: Path) -> "DryRun":
    return DryRun(phantom_root, tmp_path)


class DryRun:
    """Runs the words of a command with --dry-run; the folders of the container become those of the test."""

    def __init__(self, data: Path, runs: Path) -> None:
        self._places = {
            "/data/kaggle_3m": str(data),
            "/runs": str(runs),
            "/home/wcr/configs": str(REPOSITORY / "configs"),
        }

    def __call__(self, words: list[str]) -> str:
        for place, here in self._places.items():
            words = [word.replace(place, here) for word in words]
        # The phantom has fewer patients than the LGG set.
        prefix = "run." if words[0] == "compare" else ""
        fewer = [f"--set={prefix}split.validation_patients=2", f"--set={prefix}split.test_patients=2"]
        result = CliRunner().invoke(app, [*words, *fewer, "--dry-run"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output


@pytest.mark.parametrize("name", jobs())
def test_jobs(name: str, dry_run: DryRun, tmp_path: Path) -> None:
    words = job_words(name, tmp_path)
    if words[0] == "python":
        launched(words)
        words = words[words.index("wcr_med") :]
    assert dry_run(words[1:])


@pytest.mark.parametrize("service", ["train", "finish", "compare"])
def test_compose_services(service: str, dry_run: DryRun) -> None:
    (compose,) = documents(COMPOSE)
    assert dry_run(shlex.split(compose["services"][service]["command"]))


def test_training_on_all_gpus_of_a_machine() -> None:
    (compose,), (gpu,) = documents(COMPOSE), documents(COMPOSE_GPU)
    launched([*gpu["services"]["train"]["entrypoint"], *shlex.split(compose["services"]["train"]["command"])])


def launched(words: list[str]) -> None:
    """Checks what torchrun would make of the words."""
    from torch.distributed.run import parse_args

    assert words[:3] == ["python", "-m", "wcr_med.launch"]
    arguments = parse_args(words[3:])
    assert arguments.max_restarts == 3
    assert arguments.module
    assert (arguments.training_script, arguments.training_script_args[0]) == ("wcr_med", "train")


def test_the_slurm_script_names_a_configuration_that_is_there() -> None:
    line = next(line for line in SLURM.read_text(encoding="utf-8").splitlines() if line.startswith("CONFIG="))
    assert (REPOSITORY / line.removeprefix("CONFIG=${CONFIG:-").removesuffix("}")).is_file()
