"""The Indexed Job on one machine: each pod's own script in a process group of its own, and some of them die."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.deploy.manifests import container, environment, pod_specs
from tests.small import small_config
from wcr_med.config import parse_config
from wcr_med.errors import Stopped

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # every process imports torch

EPOCHS = 8
JOB = "wcr-med-train-nodes"


class LocalJob:
    """Runs the pods of the Indexed Job, and does with exit codes what its podFailurePolicy says.

    Args:
        claims: gets data/, runs/ and configs/ in place of the folders of the container.
        data: a phantom.
    """

    def __init__(self, claims: Path, data: Path, cache: Path) -> None:
        small = small_config(data, cache).model_dump(mode="json")
        small["training"] |= {"epochs": EPOCHS, "checkpoint_minutes": 1e-9, "device": "cpu"}
        claims.mkdir()
        (claims / "lgg.yaml").write_text(parse_config(small, source="the test").to_yaml(), encoding="utf-8")
        pod = pod_specs()[JOB]
        (script,) = container(pod)["args"]
        places = {"/home/wcr/configs": claims, "/data/kaggle_3m": data, "/runs/cache": cache, "/runs": claims / "runs"}
        for place, here in places.items():
            script = script.replace(place, str(here))
        self.run = claims / "runs" / "lgg"
        self._script = script
        self._log = claims / "log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            rendezvous = f"127.0.0.1:{free.getsockname()[1]}"
        self._environment = os.environ | environment(pod)
        self._environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RENDEZVOUS": rendezvous,
            "POD_ADDRESS": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        }
        self.n_pods = int(self._environment["NODES"])
        self.pods = [self._start(index) for index in range(self.n_pods)]
        self.codes: list[list[int]] = [[] for _ in self.pods]

    def _start(self, index: int) -> "subprocess.Popen[bytes]":
        """A pod, in a process group of its own; all write to one log."""
        with self._log.open("ab") as log:
            return subprocess.Popen(
                ["/bin/sh", "-c", self._script],
                env=self._environment | {"JOB_COMPLETION_INDEX": str(index)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def workers(self, index: int) -> list[int]:
        """The training processes of a pod."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except (OSError, ProcessLookupError):
                continue  # it has just ended
            if parent == self.pods[index].pid and b"wcr_med" in command:
                found.append(int(folder.name))
        return found

    def wait_for_epochs(self, count: int) -> None:
        """Wait until so many are in the history; some must be left."""
        history = self.run / "train" / "history.csv"
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline:
            lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
            if len(lines) > count:
                assert len(lines) <= EPOCHS, "the training was over before it could be disturbed"
                return
            assert all(pod.poll() in (None, Stopped.exit_code) for pod in self.pods), self.log
            time.sleep(0.02)
        raise AssertionError(self.log)

    def finish(self) -> None:
        """Wait for all pods; one that ends with the code of stopping is started again, as by the cluster."""
        deadline = time.monotonic() + 500
        while time.monotonic() < deadline:
            for index, pod in enumerate(self.pods):
                code = pod.poll()
                if code is not None and (code != 0 or not self.codes[index] or self.codes[index][-1] != 0):
                    self.codes[index].append(code)
                    assert code in (0, Stopped.exit_code), self.log
                    if code == Stopped.exit_code:
                        self.pods[index] = self._start(index)
            if all(codes and codes[-1] == 0 for codes in self.codes):
                return
            time.sleep(0.1)
        raise AssertionError(self.log)

    def end(self) -> None:
        """Leave no process behind."""
        for index, pod in enumerate(self.pods):
            for worker in self.workers(index):
                os.kill(worker, signal.SIGKILL)
            if pod.poll() is None:
                pod.kill()
                pod.wait()


@pytest.fixture(scope="module")
def undisturbed(phantom_root: Path, run_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a Job that nothing happened to."""
    job = LocalJob(tmp_path_factory.mktemp("undisturbed") / "claims", phantom_root, run_cache)
    try:
        job.finish()
    finally:
        job.end()
    assert job.codes == [[0]] * job.n_pods
    assert "resumed after" not in job.log
    return job.run


@pytest.fixture
def job(phantom_root: Path, run_cache: Path, tmp_path: Path) -> Iterator[LocalJob]:
    job = LocalJob(tmp_path / "claims", phantom_root, run_cache)
    yield job
    job.end()


def assert_same_weights(run: Path, other: Path) -> None:
    for name in ("train/last.safetensors", "models/dense.safetensors"):
        found, expected = (safetensors.torch.load_file(folder / name) for folder in (run, other))
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-4, atol=1e-5, msg=f"{name}: {key}")


@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_worker_is_started_again_within_its_pod(index: int, job: LocalJob, undisturbed: Path) -> None:
    job.wait_for_epochs(2)
    (worker,) = job.workers(index)
    os.kill(worker, signal.SIGKILL)
    job.finish()
    assert job.codes == [[0]] * job.n_pods, job.log  # torchrun saw to it; the cluster had nothing to do
    assert "resumed after" in job.log
    assert_same_weights(job.run, undisturbed)


@pytest.mark.parametrize("index", [0, 1])
def test_an_evicted_pod_comes_back_and_goes_on(index: int, job: LocalJob, undisturbed: Path) -> None:
    job.wait_for_epochs(2)
    job.pods[index].send_signal(signal.SIGTERM)  # as the cluster does; pod 0 is where the others meet
    job.finish()
    assert job.codes[index] == [Stopped.exit_code, 0], job.log
    assert "resumed after" in job.log
    assert_same_weights(job.run, undisturbed)


def test_a_mistake_of_the_user_fails_the_job_at_once(phantom_root: Path, run_cache: Path, tmp_path: Path) -> None:
    job = LocalJob(tmp_path / "claims", phantom_root / "nowhere", run_cache)
    try:
        codes = {pod.wait(timeout=400) for pod in job.pods}
    finally:
        job.end()
    assert 2 in codes, job.log
    assert "nowhere" in job.log
