"""Two workers that share a study."""

import threading
from collections.abc import Callable

from wcr_med.compare.plan import Cell
from wcr_med.compare.study import Study


def work_in_two(open_study: Callable[[], Study]) -> list[str]:
    """Let two threads, each with the study opened anew, work on it at the same time; gives the cells they took."""
    taken: list[str] = []
    both = threading.Barrier(2, timeout=60)

    def worker() -> None:
        first = [True]

        def run(cell: Cell) -> float:
            taken.append(cell.key)
            if first.pop() if first else False:
                both.wait()  # so that each has one at the same time
            return 0.5

        open_study().work(run)

    open_study()  # the tables exist
    threads = [threading.Thread(target=worker) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken
