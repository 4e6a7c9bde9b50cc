"""A background thread for all calls to the store: a slow, locked or unreachable store never delays a training run."""

import queue
import sys
import threading
import time
from collections.abc import Callable

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import one_line, printable, without_login

# Attempts at a call; the pauses between them add up to 63 s, so a database may be locked for a minute.
ATTEMPTS = 7
# Codes of MLflow's errors that stay, such as those of a deleted run or a wrong password.
HOPELESS = {
    *("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST"),
    *("PERMISSION_DENIED", "UNAUTHENTICATED"),
}
PATIENCE_S = 90  # seconds that a stage waits at its end for each job
stuck: list[threading.Thread] = []  # still in a job when their stage ended

Job = Callable[[], None]


class Worker:
    """Runs jobs in order. Ends, with a warning, at a job that still fails after ATTEMPTS."""

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
            stuck.append(self.thread)
            warn("the store did not answer in time")

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None and self._go_on_after(job):
            pass

    def _go_on_after(self, job: Job) -> bool:
        """Run a job, with retries; returns whether to run further jobs."""
        for attempt in range(ATTEMPTS):
            try:
                job()
            except Exception as error:  # noqa: BLE001  (no fault of tracking may stop a training run)
                if isinstance(error, UserError) or getattr(error, "error_code", None) in HOPELESS:
                    warn(one_line(error, 500))
                    return False
                permanent = isinstance(error, ValueError | TypeError | KeyError)
                if not permanent and attempt < ATTEMPTS - 1:
                    time.sleep(2**attempt)
                    continue
                warn(f"{type(error).__name__}: {one_line(error, 300)}")
                return permanent
            self.done += 1
            return True
        return False


def warn(reason: str) -> None:
    reason = printable(without_login(reason))
    print(
        f"warning: MLflow: {reason}; training and its files are not affected; stage evaluate logs the run later",
        file=sys.stderr,
    )
