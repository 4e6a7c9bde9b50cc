"""A thread that talks to the store, so that a store that is slow, locked or down never holds up a training."""

import queue
import sys
import threading
import time
from collections.abc import Callable

from denoiselab.runtime.sanitize import one_line, printable, without_login

# At a call that fails; the pauses between them add up to 63 s: a database locked for a minute is waited for.
ATTEMPTS = 7
PATIENCE_S = 90  # how long the end of a stage waits for one job: a busy store that gets on is waited for

Job = Callable[[], None]


class Worker:
    """Does jobs in order on a thread of its own; the first one that keeps failing ends it with a warning."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[Job | None] = queue.Queue()
        self.done = 0
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def do(self, job: Job) -> None:
        self.jobs.put(job)

    def finish(self) -> None:
        self.jobs.put(None)
        seen = -1
        while self.thread.is_alive() and seen != self.done:
            seen = self.done
            self.thread.join(PATIENCE_S)
        if self.thread.is_alive():
            warn("the store did not answer in time")

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None and self._go_on_after(job):
            pass

    def _go_on_after(self, job: Job) -> bool:
        """Do it, several times if need be; whether the store may be asked for more."""
        for attempt in range(ATTEMPTS):
            try:
                job()
            except Exception as error:  # noqa: BLE001  (no tracking fault may stop a training)
                useless = isinstance(error, ValueError | TypeError | KeyError)  # to try again
                if not useless and attempt < ATTEMPTS - 1:
                    time.sleep(2**attempt)
                    continue
                warn(f"{type(error).__name__}: {one_line(error, 300)}")
                return useless
            self.done += 1
            return True
        return False


def warn(reason: str) -> None:
    reason = printable(without_login(reason))
    print(
        f"warning: MLflow: {reason}; training and its files are not affected, evaluate logs the run later",
        file=sys.stderr,
    )
