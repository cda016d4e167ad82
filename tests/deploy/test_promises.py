"""What docs/cluster.md promises of the files in deploy/: rights, memory, exit codes, and that they fit together."""

import posixpath
import re
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import (
    COMPOSE,
    COMPOSE_GPU,
    KUBERNETES,
    REPOSITORY,
    SLURM,
    container,
    documents,
    environment,
    job_words,
    jobs,
    pod_specs,
)
from wcr_med.errors import Stopped, UserError

PODS = pod_specs()
JOBS = jobs()
INTERRUPTED = 130
"""What typer makes of Ctrl-C, and `wcr-med` of SIGTERM where it is not training."""

BYTES = {"Mi": 2**20, "Gi": 2**30}


def test_all_manifests_are_here() -> None:
    assert set(JOBS) == {"wcr-med-train", "wcr-med-train-nodes", "wcr-med-compare", "wcr-med-finish"}


@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_more_rights_than_they_need(name: str) -> None:
    pod, inside = PODS[name], container(PODS[name])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (1000, 1000)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert inside["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in inside["resources"]["limits"]


@pytest.mark.parametrize("name", PODS)
def test_what_is_written_has_a_place(name: str) -> None:
    pod = PODS[name]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container(pod)["volumeMounts"]}
    assert "emptyDir" in volumes[mounts["/tmp"]["name"]]
    assert environment(pod)["HOME"] == "/tmp"
    assert environment(pod)["MPLCONFIGDIR"].startswith("/tmp/")
    assert {mount["name"] for mount in mounts.values()} == set(volumes)


@pytest.mark.parametrize("name", JOBS)
def test_jobs_only_read_the_images_and_hand_batches_over_in_memory(name: str) -> None:
    pod = PODS[name]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container(pod)["volumeMounts"]}
    assert mounts["/data"]["readOnly"] is True
    shm = volumes[mounts["/dev/shm"]["name"]]["emptyDir"]
    assert shm["medium"] == "Memory"
    # What lies there counts as the container's memory.
    assert _bytes(shm["sizeLimit"]) < _bytes(container(pod)["resources"]["limits"]["memory"])


@pytest.mark.parametrize("name", JOBS)
def test_exit_codes_say_whether_a_job_goes_on(name: str) -> None:
    spec = JOBS[name]["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # else the policy would not be allowed
    assert spec["podReplacementPolicy"] == "Failed"
    rules = spec["podFailurePolicy"]["rules"]
    assert rules[0]["action"] == "Ignore"
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    by_code = {
        code: rule["action"] for rule in rules if "onExitCodes" in rule for code in rule["onExitCodes"]["values"]
    }
    assert by_code == {Stopped.exit_code: "Ignore", INTERRUPTED: "Ignore", UserError.exit_code: "FailJob"}
    named = {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule}
    assert named == {container(PODS[name])["name"]}


@pytest.mark.parametrize("name", JOBS)
def test_there_is_time_for_a_step_and_a_save(name: str) -> None:
    pod = PODS[name]
    assert pod["terminationGracePeriodSeconds"] >= 120
    if "wcr_med.launch" in container(pod)["args"][0]:
        assert int(environment(pod)["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < pod["terminationGracePeriodSeconds"]


def test_nodes_and_processes_agree(tmp_path: Any) -> None:
    for name in ("wcr-med-train", "wcr-med-train-nodes"):
        gpus = container(PODS[name])["resources"]["limits"]["nvidia.com/gpu"]
        assert environment(PODS[name])["PROCESSES"] == gpus
    spec, pod = JOBS["wcr-med-train-nodes"]["spec"], PODS["wcr-med-train-nodes"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(environment(pod)["NODES"]) >= 2
    told = job_words("wcr-med-train-nodes", tmp_path)
    assert told[told.index("--nnodes") + 1] == environment(pod)["NODES"]
    assert told[told.index("--rdzv-conf") + 1].startswith("is_host=1,")


def test_pods_of_several_nodes_find_pod_0() -> None:
    path = next(path for path in KUBERNETES if path.name == "train-indexed-job.yaml")
    service, job = documents(path)
    name = job["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    port = service["spec"]["ports"][0]["port"]
    assert environment(pod)["RENDEZVOUS"] == f"{name}-0.{service['metadata']['name']}:{port}"
    assert container(pod)["ports"][0]["containerPort"] == port


def test_all_pods_use_one_image_and_claims_that_are_there() -> None:
    assert len({container(pod)["image"] for pod in PODS.values()}) == 1
    claims = {
        document["metadata"]["name"]
        for path in KUBERNETES
        for document in documents(path)
        if document["kind"] == "PersistentVolumeClaim"
    }
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in PODS.values()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used == claims


def test_no_password_stands_in_a_file() -> None:
    workers = container(PODS["wcr-med-compare"])
    assert workers["envFrom"] == [{"secretRef": {"name": "wcr-med-database"}}]
    assert "postgresql+psycopg://" in workers["args"][0]
    (compose,) = documents(COMPOSE)
    assert compose["services"]["compare"]["environment"]["PGPASSWORD"] == "${WCR_MED_DATABASE_PASSWORD:-}"
    assert compose["services"]["database"]["environment"]["POSTGRES_PASSWORD"] == "${WCR_MED_DATABASE_PASSWORD:-}"


def test_compose_services_have_no_more_rights_than_they_need() -> None:
    (compose,) = documents(COMPOSE)
    ours = {name: service for name, service in compose["services"].items() if name != "database"}
    assert set(ours) == {"train", "finish", "tensorboard", "compare"}
    for service in ours.values():
        assert service["user"].endswith(":-1000:1000}")
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["shm_size"] == "2gb"
        assert service["environment"]["MPLCONFIGDIR"].startswith("/tmp/")
        assert service["volumes"][0]["read_only"] is True
        assert int(service["stop_grace_period"].removesuffix("s")) >= 120
    (gpu,) = documents(COMPOSE_GPU)
    assert set(gpu["services"]) <= set(ours)


def test_the_slurm_script_leaves_time_between_its_signals() -> None:
    text = SLURM.read_text(encoding="utf-8")
    warned = re.search(r"--signal=B:TERM@(\d+)", text)
    shut = re.search(r"TORCH_ELASTIC_SHUTDOWN_TIMEOUT=(\d+)", text)
    assert warned is not None
    assert shut is not None
    assert int(shut[1]) < int(warned[1])
    assert f'"$code" -eq {Stopped.exit_code}' in text


def test_configurations_are_where_the_image_has_them() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    (place,) = {
        posixpath.join(workdir, target)
        for workdir, target in re.findall(
            r"^WORKDIR (\S+)$(?:\n(?!WORKDIR).*)*?\nCOPY configs (\S+)$", dockerfile, re.MULTILINE
        )
    }
    texts = [path.read_text(encoding="utf-8") for path in (*KUBERNETES, COMPOSE)]
    named = {name for text in texts for name in re.findall(r"--config (\S+)", text)}
    assert named
    for name in named:
        assert name.startswith(f"{place}/")
        assert (REPOSITORY / "configs" / name.removeprefix(f"{place}/")).is_file()


def _bytes(size: str) -> int:
    return int(size[:-2]) * BYTES[size[-2:]]


def test_compose_anchors_do_not_hide_a_field() -> None:
    """What YAML merges is what a reader sees: each service has its own command."""
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    assert len({str(service.get("command")) for service in services.values()}) == len(services)
