"""What the program says at its end: nothing steers the terminal, no letter and no lack of memory is a traceback."""

import contextlib
import io
import sys

import typer

from wcr_med.errors import printable

_NO_MEMORY = (
    "failed to map segment", "annot allocate memory", "can't start new thread", "bad_alloc",
    "error return without exception set",  # of a compiled module that could not load in full
)  # fmt: skip


def say(text: str, *, err: bool = False) -> None:
    """Print text of one or more lines; characters that a terminal might obey are printed as escapes.

    Args:
        text: its line ends are kept. A name within it that may hold line ends is given through `printable`.
        err: on standard error.
    """
    typer.echo("\n".join(map(printable, text.split("\n"))), err=err)


def replace_missing_letters() -> None:
    """Let standard output and error print a letter that their code page lacks as an escape, where they would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):  # closed, or of no use to anybody
                stream.reconfigure(errors="backslashreplace")


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, or one that it came of, says that the process has no more memory or threads."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or any(words in str(seen) for words in _NO_MEMORY):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
