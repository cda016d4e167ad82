"""The one exception that a user is meant to read."""

import reprlib
import unicodedata

_OBEYED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))  # Unicode categories: control, format, half a letter, line ends


def printable(text: str) -> str:
    """One line of text with its control characters, marks of direction and line ends as escapes, a tab excepted.

    A terminal might obey them: they move the cursor, set colours, or show letters in another order than they stand.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode("ascii") if c != "\t" and unicodedata.category(c) in _OBEYED else c
        for c in text
    )


def printable_lines(text: str) -> str:
    """The same for a page: its line ends stay."""
    return "\n".join(map(printable, text.split("\n")))


_MOST_LETTERS = 2000
"""Of a message. What a file says must not fill a log."""


def shown(value: object) -> str:
    """A value for a message, cut where it is long; looks at no more of it than it shows."""
    return _BRIEF.repr(value)


_BRIEF = reprlib.Repr()
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = 8
_BRIEF.maxlevel = 3
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 120


class UserError(Exception):
    """Something the user can mend: a file, a configuration field, a value.

    The message is one line. It names what is wrong (the file, field or value) and the way to mend it. Characters that
    a terminal might obey stand in it as escapes. A very long one is cut in its middle. The command line prints it
    without a traceback and exits with `exit_code`.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        if len(message) > _MOST_LETTERS:
            message = f"{message[: _MOST_LETTERS // 2]} [...] {message[-_MOST_LETTERS // 2 :]}"
        super().__init__(printable(" ".join(message.split())))


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """A signal asked the work to stop, and its state is saved: the same command goes on from there.

    The command line prints the message and exits with `exit_code`, EX_TEMPFAIL of sysexits.h: a batch system may start
    the command again.
    """

    exit_code = 75
