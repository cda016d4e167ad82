"""Segmentation networks that survive pruning: train, prune once, evaluate on patients, ship a small ONNX file."""

import os

__version__: str

__all__ = ["__version__"]

# Else ONNX Runtime, from 1.29 on, keeps an identifier and a database in the user's cache folder and sends what it notes
# to its maker. It looks at this while it is imported: here is the one place that comes before, in every process.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def _name_the_user() -> None:
    """Set USER and HOME where the password file does not know this user, as for an arbitrary id in a container.

    Else `getpass.getuser()` raises, which MONAI and torch call while they are imported, and so does `Path.home()`.
    """
    named = any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME"))
    if named and "HOME" in os.environ:
        return
    try:
        import pwd

        pwd.getpwuid(os.getuid())
    except ImportError:  # Windows, where a user always has a name
        return
    except KeyError:
        os.environ.setdefault("HOME", "/")  # as container engines do
        if not named:
            os.environ["USER"] = f"uid{os.getuid()}"  # the id, since names of temporary folders are made of it


_name_the_user()


def __getattr__(name: str) -> str:
    # Looked up where it is asked for: the reader of installed packages takes longer to import than the command line.
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("wcr-med")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
