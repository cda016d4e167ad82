"""Many volumes at once, each in a process of its own: one that ends takes its volume with it, and no other."""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from wcr_med.errors import UserError
from wcr_med.provenance import available_cores
from wcr_med.runtime.options import InferenceOptions
from wcr_med.runtime.segmenter import Segmenter
from wcr_med.runtime.sources import Source
from wcr_med.runtime.work import NO_MEMORY, Outcome, segment_volume
from wcr_med.runtime.workplace import Workplace

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every process is told once.

    Attributes:
        model_path: each process opens it for itself.
        workplace: takes the results.
        options: of the call.
        threshold: of the masks.
    """

    model_path: Path
    workplace: Workplace
    options: InferenceOptions
    threshold: float


def share_threads(threads: int, processes: int) -> int:
    """Threads of each process, at least 1: an equal share of those given, or of the processors this program may use."""
    return max(1, (threads or available_cores()) // processes)


def segment_in_processes(job: Job, sources: Sequence[Source], *, processes: int) -> Iterator[tuple[int, Outcome]]:
    """Segment volumes in so many processes; yields each one's number and outcome as they come.

    A process that ends without an answer fails the volume it had; another takes its place.

    Raises:
        UserError: results cannot be written; all processes are stopped.
    """
    threads = share_threads(job.options.threads, processes)
    waiting = deque(enumerate(sources))
    workers: dict[Connection, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                worker = _Worker.start(job, threads)
                worker.give(*waiting.popleft())
                workers[worker.connection] = worker
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                worker = workers[connection]
                number, outcome = worker.number, worker.take()
                if isinstance(outcome, UserError):
                    raise outcome
                yield number, outcome
                if worker.ended or not waiting:
                    workers.pop(connection).stop()
                else:
                    worker.give(*waiting.popleft())
    finally:
        for worker in workers.values():
            worker.stop()


class _Worker:
    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self._process = process
        self.connection = connection
        self.number = -1
        self._source: Source | None = None
        self.ended = False

    @classmethod
    def start(cls, job: Job, threads: int) -> "_Worker":
        # A fresh interpreter: ONNX Runtime's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, job, threads), daemon=True)
        with _limited_threads(threads):
            process.start()
        theirs.close()  # so that the end of the process ends the connection
        return cls(process, ours)

    def give(self, number: int, source: Source) -> None:
        self.number, self._source = number, source
        with contextlib.suppress(OSError):  # it has ended; `take` finds that out
            self.connection.send(source)

    def take(self) -> Outcome | UserError:
        assert self._source is not None
        try:
            answer: Outcome | UserError = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            self.ended = True
            message = f"the process that segmented it ended ({_reason(self._process.exitcode)})"
            remedy = "give fewer --processes or a smaller --batch-size, or this volume alone to see more"
            return self._source.failure(f"{message}; {remedy}")
        return answer

    def stop(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.join()


def _serve(connection: Connection, job: Job, threads: int) -> None:
    """The life of a process: volumes in, outcomes out, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process stops the others
    with contextlib.suppress(EOFError, OSError):
        try:
            opened = Segmenter.from_file(job.model_path, threads=threads)
        except (MemoryError, UserError) as error:
            source = connection.recv()
            connection.send(source.failure(NO_MEMORY) if isinstance(error, MemoryError) else error)
            return
        _serve_with(connection, job, opened)


def _serve_with(connection: Connection, job: Job, opened: Segmenter) -> None:
    with opened as segmenter:
        while True:
            source = connection.recv()
            try:
                answer: Outcome | UserError = segment_volume(
                    segmenter, source, job.workplace, job.options, threshold=job.threshold
                )
            except UserError as error:
                answer = error
            connection.send(answer)


@contextlib.contextmanager
def _limited_threads(threads: int) -> Iterator[None]:
    """Environment of a process that starts here: numpy's threads are counted too, unless the user said how many."""
    added = [name for name in _THREAD_VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(threads)))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _reason(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in {entry.value for entry in signal.Signals} else str(-code)
    return f"{name}, perhaps for want of memory" if name == "SIGKILL" else name
