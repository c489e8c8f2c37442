"""Steps in the order in which they need each other, those that need not wait side by side."""

import os
from collections.abc import Callable, Mapping, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter


def run_in_order(
    needs: Mapping[str, Set[str]],
    run: Callable[[str], bool],
    may_start: Callable[[], bool],
    stop: Callable[[], None],
) -> None:
    """Run steps in threads, at most one for each processor.

    Parameters
    ----------
    needs
        The names of the steps, and of those before each.
    run
        Runs a step and says whether it succeeded.
    may_start
        Says whether a step may still be started after others have failed; those that need a failed
        one are not started in any case.
    stop
        Makes running steps end; called before an exception, such as Ctrl-C, goes on.
    """
    order = TopologicalSorter(needs)
    order.prepare()
    ready: list[str] = []
    running: dict[Future[bool], str] = {}
    limit = os.cpu_count() or 1
    with ThreadPoolExecutor(limit) as pool:
        try:
            while order.is_active():
                ready += order.get_ready()
                while ready and may_start() and len(running) < limit:
                    name = ready.pop(0)
                    running[pool.submit(run, name)] = name
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    if future.result():
                        order.done(name)
        except BaseException:
            stop()
            raise
