"""A user id that the password file does not know, as OpenShift, `runAsUser` and some batch systems give one."""

import os
import subprocess
import sys

import pytest

UNKNOWN = 54321
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME")

# The effective user stays: the interpreter may lie in a folder that no other user reads. Names come by the real one.
BECOME = f"import os; os.setresuid({UNKNOWN}, os.geteuid(), os.geteuid())\n"


def as_unknown_user(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    if not hasattr(os, "setresuid") or os.geteuid() != 0:
        pytest.skip("only root on Linux may take another user id")
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | variables
    return subprocess.run(
        [sys.executable, "-c", BECOME + program], env=environment, capture_output=True, text=True, timeout=300
    )


def test_what_every_stage_imports_can_be_imported() -> None:
    done = as_unknown_user(
        "import wcr_med.stages.run, wcr_med.stages.export, wcr_med.stages.prune, wcr_med.stages.report\n"
        "import monai.config, torch._dynamo.config, torch._inductor.runtime.cache_dir_utils as caches\n"
        "caches.cache_dir()\n"
        "import getpass, pathlib\n"
        "print(getpass.getuser(), pathlib.Path.home())"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"uid{UNKNOWN}", "/"]


def test_names_that_are_given_stay() -> None:
    program = "import wcr_med, os; print(os.environ.get('USER'), os.environ.get('LOGNAME'), os.environ['HOME'])"
    assert as_unknown_user(program, LOGNAME="ada", HOME="/tmp").stdout.split() == ["None", "ada", "/tmp"]
    assert as_unknown_user(program, USER="ada").stdout.split() == ["ada", "None", "/"]


def test_a_known_user_is_left_alone() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    program = "import wcr_med, os; print(os.environ.get('USER'), os.environ.get('HOME'))"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    pwd = pytest.importorskip("pwd")
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        assert done.stdout.split() == [f"uid{os.getuid()}", "/"]
    else:
        assert done.stdout.split() == ["None", "None"]
