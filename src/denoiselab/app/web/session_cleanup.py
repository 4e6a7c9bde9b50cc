"""What a visitor leaves behind is deleted.

Streamlit keeps the uploads and the state of a session that has lost its browser, in case that comes back, and forgets
those that did not only when another session ends: the last visitor's would stay.
"""

import asyncio
from dataclasses import dataclass

import streamlit as st
from streamlit.runtime import get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from denoiselab.app.web.computation import Outcome, Task


@dataclass
class Visit:
    """A visitor's last task and what became of it."""

    session: str  # Streamlit's name for it
    task: Task | None = None
    outcome: Outcome | None = None
    failure: str = ""

    def forget(self) -> None:
        """Delete the pictures."""
        self.task = self.outcome = None
        self.failure = ""


def _left(visit: Visit) -> None:
    """The browser is gone; its visitor is once it stays away for half of the time that Streamlit would wait."""
    visit.forget()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # not the server's thread: it is ending, or has closed the session already
        return
    loop.call_later(st.get_option("server.disconnectedSessionTTL") / 2, _close, visit.session)


def _close(session: str) -> None:
    if not get_instance().is_active_session(session):
        get_instance().close_session(session)


@st.cache_resource(scope="session", on_release=_left, show_spinner=False)
def visit() -> Visit:
    """That of the session whose script is running; Streamlit drops it when the browser goes."""
    context = get_script_run_ctx()
    assert context is not None
    return Visit(context.session_id)
