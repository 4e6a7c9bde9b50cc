"""The page itself: the script that Streamlit runs for a visitor at every change. Its arguments are those of Limits.

Models and what was made of the samples are shared by all visitors, their own pictures by none: what was made of those
is kept for the visit alone.
"""

import sys
from pathlib import Path

import streamlit as st
from streamlit.elements.lib.mutable_status_container import StatusContainer

from denoiselab.app import batch_denoise, denoisers
from denoiselab.app.web import computation, limits, session_cleanup, texts
from denoiselab.app.web.limits import Limits
from denoiselab.app.web.noise_choices import KINDS
from denoiselab.app.web.samples import SAMPLES
from denoiselab.app.web.slider import slider
from denoiselab.app.web.waiting_line import Line
from denoiselab.imaging import photos
from denoiselab.runtime import devices
from denoiselab.runtime.errors import BusyError

AS_IT_IS = "none"
STYLE = Path(__file__).parent / "app.css"
SAMPLE, OWN = "A sample", "Your own"


@st.cache_resource(show_spinner=False)
def line() -> Line:
    """Of all visitors."""
    return Line(limits.WAITING)


def main() -> None:
    allowed = Limits(*map(int, sys.argv[1:]))
    st.set_page_config(page_title="denoiselab", layout="wide")
    st.html(STYLE)
    st.title("denoiselab", anchor=False)
    st.markdown(texts.LEAD)
    controls, results = st.columns([1, 2], gap="large")
    with controls:
        task = choose(allowed)
    with results:
        if task is None:
            st.info(texts.EMPTY)
        elif outcome := done(task, allowed):
            show(outcome, task)
    with st.expander("How to read this"):
        st.markdown(texts.READING)
    st.caption(texts.PRIVACY)


def choose(allowed: Limits) -> computation.Task | None:
    """What the visitor asks for; None until there is a picture and a model."""
    st.header("1. Picture", anchor=False)
    source = st.radio("Picture", [SAMPLE, OWN], horizontal=True, label_visibility="collapsed")
    picture = sample() if source == SAMPLE else upload(allowed)
    st.header("2. Noise", anchor=False)
    noise = choose_noise(source)
    st.header("3. Denoiser", anchor=False)
    models = choose_models()
    return computation.Task(*picture, noise, models, sample=source == SAMPLE) if picture and models else None


def sample() -> tuple[bytes, str]:
    """A bundled photograph and its file's name."""
    name = st.selectbox(
        "Photograph",
        SAMPLES,
        format_func=lambda name: f"{SAMPLES[name].title} ({SAMPLES[name].credit})",
        label_visibility="collapsed",
    )
    chosen = SAMPLES[name]
    return chosen.path.read_bytes(), f"{name}{chosen.path.suffix}"


def upload(allowed: Limits) -> tuple[bytes, str] | None:
    """The visitor's own picture and its file's name."""
    file = st.file_uploader(
        f"A picture of at most {allowed.megabytes} MB and {allowed.megapixels} megapixels",
        type=[suffix.removeprefix(".") for suffix in photos.SUFFIXES],
    )
    if file is None:
        return None
    try:
        allowed.check_file(file.size)
    except ValueError as error:
        st.error(texts.plain(f"{file.name}: {error}"))
        return None
    return file.getvalue(), file.name


def choose_noise(source: str) -> tuple[str, float] | None:
    """A kind and its level; None: the picture as it is."""
    options = [AS_IT_IS, *KINDS]
    titles = {AS_IT_IS: "None: take it as it is"} | {name: kind.title for name, kind in KINDS.items()}
    name = st.selectbox(
        "Noise to add",
        options,
        index=int(source == SAMPLE),
        format_func=titles.__getitem__,
        key=f"noise of {source}",
        label_visibility="collapsed",
    )
    if name == AS_IT_IS:
        st.caption(texts.AS_IT_IS)
        return None
    kind = KINDS[name]
    level = st.slider(kind.slider, kind.low, kind.high, kind.start, kind.step, key=f"level of {name}")
    st.caption(kind.words)
    return name, level


def choose_models() -> tuple[str, ...]:
    """Names and paths of models, in the order of choice."""
    listed = [*denoisers.known(), *denoisers.trained()]
    names = st.multiselect(
        "Denoisers",
        [computation.AUTO, *(entry.name for entry in listed)],
        default=[computation.AUTO],
        max_selections=limits.MODELS,
        placeholder="Choose a denoiser",
        label_visibility="collapsed",
    )
    with st.expander("What there is to choose"):
        st.markdown(texts.models(listed))
    return tuple(names)


def done(task: computation.Task, allowed: Limits) -> computation.Outcome | None:
    """The task's outcome, computed when it is this visitor's turn; None where it failed, and the page says why."""
    visit = session_cleanup.visit()
    if visit.task != task:
        visit.forget()
        try:
            visit.outcome, visit.failure = compute(task, allowed)
        except BusyError as busy:
            st.error(texts.plain(str(busy)))
            st.button(texts.AGAIN)  # a click runs the script
            return None
        visit.task = task
    if visit.failure:
        st.error(texts.plain(visit.failure))
    return visit.outcome


def compute(task: computation.Task, allowed: Limits) -> tuple[computation.Outcome | None, str]:
    """An outcome, or why there is none. BusyError where there may be one later."""
    if outcome := computation.kept(task):
        return outcome, ""
    place = st.empty()
    status = place.status(texts.place(0))
    try:
        computation.check(task, allowed.pixels)
        outcome = line().do(
            lambda step: computation.run(task, allowed.pixels, step),
            waiting=lambda ahead: told(status, texts.place(ahead)),
            tell=lambda step: told(status, step or texts.place(0)),
        )
        return outcome, ""
    except BusyError:
        raise
    except batch_denoise.FAULTS as error:
        said = texts.failure(error)
        if devices.ran_out(error) or isinstance(error, OSError):
            raise BusyError(said) from None
        return None, said
    finally:
        place.empty()


def told(status: StatusContainer, text: str) -> None:
    """Streamlit stops the script here when the visitor has left or changed something."""
    status.update(label=text)


def show(outcome: computation.Outcome, task: computation.Task) -> None:
    """The slider, the scores, the estimate and the downloads."""
    slider(outcome.views, outcome.results[0].model, key="slider")
    st.markdown(texts.noise_found(outcome, task.noise))
    st.markdown(texts.table(outcome))
    st.html(texts.downloads(outcome))


main()
