"""What is said on a terminal: nothing in it can steer the terminal, and no letter ends the program."""

import contextlib
import io
import sys

import typer

from wcr_med.errors import printable


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
