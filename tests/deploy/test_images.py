"""The images: what is locked, what is sent to the builder, what the Dockerfile calls its parts."""

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
LOCKS = {"runtime": (), "dicom": ("dicom",), "train": ("train", "dicom", "mlflow", "postgresql")}


def pins(name: str) -> list[Requirement]:
    """The pins of a lock file, without their hashes."""
    lines = (ROOT / "requirements" / f"{name}.lock").read_text().splitlines()
    return [Requirement(line.removesuffix("\\").strip()) for line in lines if re.match(r"\w", line)]


def installed(name: str, python: str, machine: str = "x86_64") -> dict[str, str]:
    """Version by package, of what a lock installs on Linux."""
    environment = {
        **default_environment(),
        "implementation_name": "cpython",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    chosen = [pin for pin in pins(name) if pin.marker is None or pin.marker.evaluate(environment)]
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in chosen}
    assert len(versions) == len(chosen), "a package is pinned twice"
    return versions


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_satisfies_the_requirements_of_the_project(name: str, python: str) -> None:
    versions = installed(name, python)
    required = [*project()["project"]["dependencies"]]
    for extra in LOCKS[name]:
        required += project()["project"]["optional-dependencies"][extra]
    for requirement in map(Requirement, required):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in requirements/{name}.lock: make lock"
        assert requirement.specifier.contains(version), f"{requirement}, but {version} is locked: make lock"


def test_the_lock_of_the_build_tools_satisfies_the_build_system() -> None:
    versions = installed("build", "3.12")
    for requirement in map(Requirement, project()["build-system"]["requires"]):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", ["build", *LOCKS])
def test_every_pin_has_a_hash_and_no_lock_names_an_index(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert blocks
    for block in blocks:
        assert re.match(r"[\w.-]+==\S+ ", block), block.splitlines()[0]
        assert "--hash=sha256:" in block, block.splitlines()[0]
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links|^-[if] ", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["runtime", "dicom"])
def test_the_images_agree_on_versions_and_the_runtime_has_no_torch(name: str) -> None:
    small, large = installed(name, "3.12"), installed("train", "3.12")
    assert small.items() <= large.items()
    assert not {"torch", "monai", "triton"} & set(small)


def test_the_dockerfile_has_the_stages_and_arguments_that_the_documentation_names() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+ AS (\w+)$", text, flags=re.MULTILINE)
    assert stages == ["base", "wheel", "train", "runtime"]
    documented = (ROOT / "docs" / "images.md").read_text()
    for argument in re.findall(r"^ARG (\w+)", text, flags=re.MULTILINE):
        assert f"`{argument}`" in documented
    images = re.split(r"^FROM ", text, flags=re.MULTILINE)[-2:]
    for image in images:
        assert "USER 1000:1000" in image
        assert image.index("requirements") < image.index("COPY"), "sources must not come before dependencies"
        assert image.index("requirements") < image.index("COPY --from=wheel")


def test_only_what_the_dockerfile_copies_reaches_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "nothing is sent but what is named"
    sent = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    sources = {source.split("/")[0] for line in copied for source in line.split()[:-1]}
    assert sent == sources
    for kept_out in ("runs", "data", "kaggle_3m", ".git", ".venv", ".cache", "build", "tests"):
        assert not any(fnmatch.fnmatch(kept_out, rule) for rule in sent)
