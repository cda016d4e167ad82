"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can mend: a file, a configuration field, a value.

    The message is one line. It names what is wrong (the file, field or value) and the way to mend it. Characters that
    a terminal might obey stand in it as escapes. The command line prints it without a traceback and exits with
    `exit_code`.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line))


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """A signal asked the work to stop, and its state is saved: the same command goes on from there.

    The command line prints the message and exits with `exit_code`, EX_TEMPFAIL of sysexits.h: a batch system may start
    the command again.
    """

    exit_code = 75
