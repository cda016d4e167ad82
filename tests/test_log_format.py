"""JSON lines off a terminal, text on one, and a bar where no JSON goes."""

import io
import json
import logging
import sys
import warnings
from datetime import datetime

import pytest
from tqdm.contrib.logging import logging_redirect_tqdm

from wcr_med.errors import UserError
from wcr_med.log_format import configure_logging, shows_bar

_LOG = logging.getLogger("wcr_med.test")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _catch(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("RANK", raising=False)
    return stream


def test_off_a_terminal_a_line_is_a_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _catch(monkeypatch)
    configure_logging()
    fields = {"epoch": 3, "loss": 0.25, "best_dice": None, "rate": float("nan"), "grid": (8, 8), "odd": {1}}
    _LOG.info("epoch %d", 3, extra=fields)
    (line,) = stream.getvalue().splitlines()
    document = json.loads(line)
    moment = datetime.fromisoformat(document.pop("time"))
    assert moment.utcoffset().total_seconds() == 0
    assert document == {
        "level": "info", "logger": "wcr_med.test", "message": "epoch 3", "epoch": 3, "loss": 0.25, "best_dice": None,
        "rate": None, "grid": [8, 8], "odd": "{1}",
    }  # fmt: skip


def test_a_traceback_and_a_rank_are_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _catch(monkeypatch)
    monkeypatch.setenv("RANK", "2")
    configure_logging("json")
    try:
        int("what")
    except ValueError:
        _LOG.exception("broken")
    document = json.loads(stream.getvalue())
    assert document["rank"] == "2"
    assert document["level"] == "error"
    assert "ValueError: invalid literal" in document["exception"]


def test_pythons_own_warnings_are_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _catch(monkeypatch)
    configure_logging("json")
    warnings.warn("old", stacklevel=1)
    assert "old" in json.loads(stream.getvalue())["message"]


def test_a_terminal_gets_text_and_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure_logging()
    assert shows_bar()
    with logging_redirect_tqdm():
        _LOG.info("epoch %d", 3, extra={"epoch": 3})
    logging.getLogger("other").info("not ours")
    assert terminal.getvalue() == "epoch 3\n"


@pytest.mark.parametrize(("log_format", "is_terminal", "bar"), [("text", False, False), ("json", True, False)])
def test_the_choice_is_kept_whatever_the_stream(
    monkeypatch: pytest.MonkeyPatch, log_format: str, is_terminal: bool, bar: bool
) -> None:
    stream = _Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging(log_format)
    _LOG.info("line")
    assert stream.getvalue().startswith("{") == (log_format == "json")
    assert shows_bar() == bar


def test_the_last_choice_holds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _catch(monkeypatch)
    for log_format in ("json", "text", "json"):
        configure_logging(log_format)
    _LOG.info("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_another_format_is_refused() -> None:
    with pytest.raises(UserError, match=r"--log-format.*xml.*auto, text, json"):
        configure_logging("xml")
