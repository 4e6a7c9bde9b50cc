"""A background thread for all calls to the store: a slow, locked or unreachable store never delays a training run."""

import queue
import sys
import threading
import time
from collections.abc import Callable

from denoiselab.runtime.sanitize import one_line, printable, without_login
from denoiselab.tracking import runs, store_errors

# Attempts at a call; the pauses between them add up to 63 s, so a database may be locked for a minute.
ATTEMPTS = 7
PATIENCE_S = 90  # seconds that a stage waits at its end for each job
GRACE_S = 4  # the same if the store is not there
POLL_S = 0.05
stuck: list[threading.Thread] = []  # still in a job when their stage ended

Job = Callable[[], None]


class Worker:
    """Runs jobs in order. Ends, with a warning, at a job that still fails after ATTEMPTS.

    `later` says in the warning what is not affected, and how the run is logged all the same; `given_up` is called at
    such an end.
    """

    def __init__(self, later: str, given_up: Callable[[], None] = lambda: None) -> None:
        self.later, self.given_up = later, given_up
        self.jobs: queue.Queue[Job | None] = queue.Queue()
        self.done = 0
        self.failure = ""  # reason of the current job's last failure
        self.gone = False  # whether the store is not there
        self.ending = threading.Event()  # the stage waits
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def do(self, job: Job) -> None:
        self.jobs.put(job)

    def finish(self) -> None:
        self.jobs.put(None)
        self.ending.set()
        seen, since = self.done, time.monotonic()
        while self.thread.is_alive() and time.monotonic() - since < (GRACE_S if self.gone else PATIENCE_S):
            self.thread.join(POLL_S)
            if self.done != seen:
                seen, since = self.done, time.monotonic()
        if self.thread.is_alive():
            stuck.append(self.thread)
            warn(self.failure or "the store did not answer in time", self.later)

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None and self._go_on_after(job):
            self.failure, self.gone = "", False
            self.done += 1

    def _go_on_after(self, job: Job) -> bool:
        """Run a job, with retries; returns whether to run further jobs."""
        for attempt in range(ATTEMPTS):
            try:
                job()
                return True
            except Exception as error:  # noqa: BLE001  (no fault of tracking may stop a training run)
                if isinstance(error, ValueError | TypeError | KeyError) and not store_errors.permanent(error):
                    self._warn(f"{type(error).__name__}: {one_line(error, 300)}")  # of this job alone
                    return True
                self.failure, busy = store_errors.reason(error, runs.uri()), store_errors.busy(error)
                if store_errors.permanent(error):
                    break
                self.gone = not busy
            if attempt < ATTEMPTS - 1:
                self._pause(2**attempt, busy)
        self._warn(self.failure)
        self.given_up()
        return False

    def _pause(self, seconds: float, busy: bool) -> None:
        """Wait before the next attempt; at most one second if the stage waits for a store that is not there."""
        if busy:
            time.sleep(seconds)
        elif self.ending.wait(seconds):
            time.sleep(min(seconds, 1))

    def _warn(self, reason: str) -> None:
        if self.thread not in stuck:  # else the stage has warned
            warn(reason, self.later)


def warn(reason: str, later: str) -> None:
    print(f"warning: MLflow: {printable(without_login(reason))}; {later}", file=sys.stderr)
