"""How the lines of the log look: text on a terminal, one JSON object a line elsewhere."""

import json
import logging
import math
import os
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from wcr_med.errors import UserError, printable

FORMATS = ("auto", "text", "json")
VARIABLE = "WCR_MED_LOG_FORMAT"

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime"}


def configure_logging(log_format: str = "auto") -> None:
    """Send this package's lines from INFO on, and others' from WARNING on, to standard error. May be called again.

    With JSON, Python's own warnings become lines of it too.

    Args:
        log_format: text; json; auto: text where standard error is a terminal, json elsewhere.

    Raises:
        UserError: the format is none of these.
    """
    if log_format not in FORMATS:
        raise UserError(
            f"--log-format (or {VARIABLE}): {log_format!r} is no format; choose one of {', '.join(FORMATS)}"
        )
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StandardError)]:
        root.removeHandler(handler)
    handler = _StandardError()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root.addHandler(handler)
    logging.getLogger("wcr_med").setLevel(logging.INFO)
    logging.captureWarnings(as_json)


def shows_bar() -> bool:
    """Whether a bar of progress may be drawn: standard error is a terminal, and no JSON goes there."""
    return sys.stderr.isatty() and not any(
        isinstance(handler, _StandardError) and isinstance(handler.formatter, JsonFormatter)
        for handler in logging.getLogger().handlers
    )


class TextFormatter(logging.Formatter):
    """The message alone; characters that a terminal might obey are escapes, line ends excepted."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        return "\n".join(map(printable, super().format(record).split("\n")))


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (ISO 8601, UTC), level, logger, message, then the fields of its `extra`.

    NaN and infinity become null: JSON has neither. What is no JSON becomes text. Under torchrun the process's rank is
    a field too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if "RANK" in os.environ:
            document["rank"] = os.environ["RANK"]
        document |= {name: _finite(value) for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the time of the line: a bar or a test may put something in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("the stream is always sys.stderr")
