"""Delete a visitor's data after the visit.

Streamlit keeps the uploads and state of a disconnected session in case the browser reconnects, and drops them only when
another session ends: the last visitor's data would stay.
"""

import asyncio
from dataclasses import dataclass

import streamlit as st
from streamlit.runtime import get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from denoiselab.app.web.computation import Archive, Outcome, Task


@dataclass
class Visit:
    """A visitor's last task and its result, and the results of all images."""

    session: str  # Streamlit's id
    task: Task | None = None
    outcome: Outcome | None = None
    failure: str = ""
    archive: Archive | None = None

    def forget(self) -> None:
        """Delete the images."""
        self.forget_result()
        self.archive = None

    def forget_result(self) -> None:
        """Delete the last task's images."""
        self.task = self.outcome = None
        self.failure = ""


def _left(visit: Visit) -> None:
    """Called when the browser disconnects: close the session unless it reconnects within half of Streamlit's limit."""
    visit.forget()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # not in the server's thread: it is shutting down, or the session is closed already
        return
    loop.call_later(st.get_option("server.disconnectedSessionTTL") / 2, _close, visit.session)


def _close(session: str) -> None:
    if not get_instance().is_active_session(session):
        get_instance().close_session(session)


@st.cache_resource(scope="session", on_release=_left, show_spinner=False)
def visit() -> Visit:
    """The visit of the running script's session; Streamlit drops it when the browser disconnects."""
    context = get_script_run_ctx()
    assert context is not None
    return Visit(context.session_id)
