"""Progress never changes what passes through it."""

import io
import logging
import sys

import pytest

from wcr_med import progress
from wcr_med.progress import track

LOG = logging.getLogger("wcr_med.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_plain_lines_say_how_much_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO, logger="wcr_med.test"):
        assert list(track(range(4), label="prepare", unit="patient", total=4, log=LOG)) == [0, 1, 2, 3]
    assert caplog.messages == ["prepare: 1 of 4 patients, 120 s left", "prepare: 3 of 4 patients, 27 s left"]


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track(iter("ab"), label="prepare", unit="patient", total=2, log=LOG)) == ["a", "b"]
    assert "prepare" in terminal.getvalue()


def test_switched_off_it_says_nothing(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track("ab", label="prepare", unit="patient", total=2, log=LOG, enabled=False)) == ["a", "b"]
    assert not caplog.messages
    assert not capsys.readouterr().err
