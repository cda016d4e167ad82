"""Signals wait while C++ runs Python code, and are handled afterwards."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.exported import tiny_network
from wcr_med.export import graph
from wcr_med.interrupts import interrupts_deferred
from wcr_med.preprocess import PreprocessSettings


@pytest.fixture
def as_the_command(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as `wcr_med.cli.main` has it; SIGINT too, also in a job in the background."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("as_the_command")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    handler, reached = signal.getsignal(number), False
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        reached = True
    assert reached
    assert signal.getsignal(number) is handler


@pytest.mark.usefixtures("as_the_command")
def test_an_error_of_the_block_does_not_swallow_the_signal() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("of the exporter")


def test_without_a_signal_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupts_deferred():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(RuntimeError, match="its own"), interrupts_deferred():
        raise RuntimeError("its own")


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interrupts_deferred():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_are_left_alone() -> None:
    done = []

    def work() -> None:
        with interrupts_deferred():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.usefixtures("as_the_command")
def test_the_exporter_is_not_interrupted_within(monkeypatch: pytest.MonkeyPatch) -> None:
    export, exported = graph.torch.onnx.export, []

    def interrupted(*arguments: object, **options: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        program = export(*arguments, **options)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)
        exported.append(program)
        return program

    monkeypatch.setattr(graph.torch.onnx, "export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        graph.to_onnx(tiny_network(), PreprocessSettings(height=32, width=32), in_channels=3)
    assert len(exported) == 1


def test_a_process_ends_as_the_signal_says() -> None:
    code = """
import os, signal, sys
from wcr_med.interrupts import interrupts_deferred
with interrupts_deferred():
    os.kill(os.getpid(), signal.SIGTERM)
    print("reached", flush=True)
print("not reached")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "reached\n")
