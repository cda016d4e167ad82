"""Several volumes at once, and what a process that ends takes with it."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.crashing import Faulty, Hungry, Killed, Leaving
from tests.runtime.test_infer import write_slices
from wcr_med.errors import UserError
from wcr_med.runtime import Failure, SegmentedVolume, Segmenter, Source, infer
from wcr_med.runtime.options import InferenceOptions
from wcr_med.runtime.processes import Job, segment_in_processes, share_threads
from wcr_med.runtime.work import segment_volume
from wcr_med.runtime.workplace import Workplace
from wcr_med.volumes.images import read_mask


def source_of(folder: Path, kind: type[Source] = Source) -> Source:
    write_slices(folder, ["s1.png", "s2.png"], seed=len(folder.name))
    return kind(name=folder.name, kind="images", folder=folder, files=tuple(sorted(folder.iterdir())))


def job_of(model_file: Path, out: Path) -> Job:
    workplace = Workplace(out=out, signature={"any": 1})
    return Job(model_path=model_file, workplace=workplace, options=InferenceOptions(threads=1), threshold=0.5)


def test_processes_do_not_change_the_answer(model_file: Path, tmp_path: Path) -> None:
    for number in range(4):
        write_slices(tmp_path / "in" / f"p{number}", ["s1.png", "s2.png"], seed=number)
    (tmp_path / "in" / "p1" / "s1.png").write_bytes(b"damaged")
    one = infer(model_file, [tmp_path / "in"], tmp_path / "one", threads=1)
    two = infer(model_file, [tmp_path / "in"], tmp_path / "two", threads=2, processes=2)
    assert [volume.name for volume in two.volumes] == [volume.name for volume in one.volumes] == ["p0", "p2", "p3"]
    assert two.failures == one.failures
    for first, second in zip(one.volumes, two.volumes, strict=True):
        for path, other in zip(first.mask_files, second.mask_files, strict=True):
            np.testing.assert_array_equal(read_mask(path), read_mask(other))


def test_a_process_that_ends_takes_one_volume_with_it(model_file: Path, tmp_path: Path) -> None:
    kinds = [Source, Killed, Source, Leaving, Source, Source]
    sources = [source_of(tmp_path / "in" / f"p{number}", kind) for number, kind in enumerate(kinds)]
    job = job_of(model_file, tmp_path / "out")
    with job.workplace.opened():
        outcomes = dict(segment_in_processes(job, sources, processes=2))
    assert sorted(outcomes) == list(range(6))
    for number, kind in enumerate(kinds):
        assert isinstance(outcomes[number], SegmentedVolume if kind is Source else Failure)
    killed, left = outcomes[1], outcomes[3]
    assert isinstance(killed, Failure)
    assert isinstance(left, Failure)
    assert "SIGKILL, perhaps for want of memory" in killed.message
    assert "exit code 7" in left.message
    assert str(tmp_path / "in" / "p1") in killed.message
    assert not list((tmp_path / "out" / ".wcr-med" / "partial").glob("*"))


def test_a_place_that_cannot_be_written_stops_all(model_file: Path, tmp_path: Path) -> None:
    sources = [source_of(tmp_path / "in" / f"p{number}") for number in range(4)]
    job = job_of(model_file, tmp_path / "out")
    with job.workplace.opened():
        (tmp_path / "out" / ".wcr-med" / "done").write_text("a file where a folder is needed, by every volume")
        with pytest.raises(UserError, match="a file stands"):
            list(segment_in_processes(job, sources, processes=2))


@pytest.mark.parametrize(
    ("kind", "message"), [(Faulty, "unexpected error (TypeError: not foreseen)"), (Hungry, "not enough memory")]
)
def test_a_fault_of_one_volume_does_not_stop_the_others(
    model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: type[Source], message: str
) -> None:
    job = job_of(model_file, tmp_path / "out")
    source = source_of(tmp_path / "p", kind)
    caplog.set_level(logging.ERROR, "wcr_med")
    with job.workplace.opened(), Segmenter.from_file(model_file, threads=1) as segmenter:
        outcome = segment_volume(segmenter, source, job.workplace, job.options, threshold=0.5)
    assert isinstance(outcome, Failure)
    assert message in outcome.message
    assert ("Traceback" in caplog.text) == (kind is Faulty)


def test_threads_are_shared_out() -> None:
    assert share_threads(8, 3) == 2
    assert share_threads(2, 5) == 1
    assert 1 <= share_threads(0, 1) <= (os.cpu_count() or 1)


def test_the_environment_is_left_as_it_was(model_file: Path, tmp_path: Path) -> None:
    before = dict(os.environ)
    job = job_of(model_file, tmp_path / "out")
    with job.workplace.opened():
        list(segment_in_processes(job, [source_of(tmp_path / "p")], processes=1))
    assert dict(os.environ) == before
