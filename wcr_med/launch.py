"""`python -m wcr_med.launch`: torchrun, with exit codes that a batch system can act on.

It takes the arguments of torchrun. That ends with 1 whatever happened; this ends as the processes that it started did:

- 0: done;
- `UserError.exit_code`: one of them found something that the user must mend, and starting again is of no use;
- `Stopped.exit_code`: asked to stop, or the other machines are gone: the same command goes on from what is saved;
- 1: anything else.
"""

import logging
import os
import sys
from collections.abc import Iterable, Sequence

from wcr_med.errors import Stopped, UserError
from wcr_med.log_format import VARIABLE, configure_logging

log = logging.getLogger(__name__)


def launch(arguments: Sequence[str]) -> int:
    """Start processes, watch them, and start them again when one dies, as torchrun does.

    Args:
        arguments: of torchrun, such as --standalone --nproc-per-node 2 -m wcr_med train --out runs/lgg.

    Returns:
        The exit code.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.run import parse_args, run

    # Else processes that are started again look for each other under the addresses of the dead.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    try:
        run(parse_args(list(arguments)))  # type: ignore[no-untyped-call]
    except ChildFailedError as failed:
        code = exit_code(failure.exitcode for failure in failed.failures.values())
        log.warning("processes ended with %s", sorted({failure.exitcode for failure in failed.failures.values()}))
        return code
    except SignalException as stop:
        log.warning("stopped by %s; give the same command to go on", stop.sigval.name)
        return Stopped.exit_code
    except RendezvousError as error:
        cause = error.__cause__ or error
        log.warning("the other machines cannot be reached: %s; give the same command to go on", cause)
        return Stopped.exit_code
    return 0


def exit_code(codes: Iterable[int]) -> int:
    """One code for several processes that failed.

    A process whose neighbour is gone fails as well, in ways of its own: so what the user must mend goes first, and what
    was only stopped must hold for all.
    """
    seen = set(codes)
    if UserError.exit_code in seen:
        return UserError.exit_code
    return Stopped.exit_code if seen == {Stopped.exit_code} else 1


def main() -> None:
    """Entry point."""
    try:
        configure_logging(os.environ.get(VARIABLE, "auto"))
        sys.exit(launch(sys.argv[1:]))
    except UserError as error:
        log.warning("error: %s", error)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        log.warning("error: this command needs the package torch: pip install 'wcr-med[train]'")
        sys.exit(UserError.exit_code)


if __name__ == "__main__":
    main()
