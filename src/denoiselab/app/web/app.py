"""The page: Streamlit runs this script for a visitor at every change. Its arguments are the fields of Limits.

All visitors share the models and the results for sample images. Results for a visitor's own images are kept for that
visit only.
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
from denoiselab.runtime import devices, paths
from denoiselab.runtime.errors import BusyError

NO_NOISE = "none"
STYLE = Path(__file__).parent / "app.css"
SAMPLE, OWN = "Sample", "Your own"


@st.cache_resource(show_spinner=False)
def line() -> Line:
    """The queue that all visitors share."""
    return Line(limits.WAITING)


def main() -> None:
    allowed = Limits(*map(int, sys.argv[1:]))
    st.set_page_config(page_title="denoiselab", layout="wide")
    st.html(STYLE)
    st.title("denoiselab", anchor=False)
    st.markdown(texts.LEAD)
    controls, results = st.columns([1, 2], gap="large")
    with controls:
        tasks = choose(allowed)
    visit = session_cleanup.visit()
    if visit.archive and visit.archive.tasks != tasks:
        visit.archive = None
    with results:
        if not tasks:
            st.info(texts.EMPTY)
        else:
            task = tasks[chosen_image(tasks)]
            if outcome := done(task, allowed):
                show(outcome, task)
            if len(tasks) > 1:
                show_all(tasks, allowed)
    with st.expander("How to read this"):
        st.markdown(texts.READING)
    st.caption(texts.PRIVACY)


def choose(allowed: Limits) -> list[computation.Task]:
    """The visitor's choices, a task for each image; none until an image and a model are chosen."""
    st.header("1. Image", anchor=False)
    source = st.radio("Image", [SAMPLE, OWN], horizontal=True, label_visibility="collapsed")
    images = [sample()] if source == SAMPLE else upload(allowed)
    st.header("2. Noise", anchor=False)
    noise = choose_noise(source)
    st.header("3. Denoiser", anchor=False)
    models, quality = choose_models()
    strength = st.slider(texts.STRENGTH, 0.0, 1.0, 1.0, 0.05)
    if not models:
        return []
    return [computation.Task(*image, noise, models, quality, source == SAMPLE, strength) for image in images]


def sample() -> tuple[bytes, str]:
    """A bundled photo and its file name."""
    name = st.selectbox(
        "Photo",
        SAMPLES,
        format_func=lambda name: f"{SAMPLES[name].title} ({SAMPLES[name].credit})",
        label_visibility="collapsed",
    )
    chosen = SAMPLES[name]
    return chosen.path.read_bytes(), f"{name}{chosen.path.suffix}"


def upload(allowed: Limits) -> list[tuple[bytes, str]]:
    """The visitor's own images and their file names; below the field, why others cannot be used."""
    given = st.file_uploader(
        f"Up to {limits.FILES} images of {allowed.megabytes} MB and {allowed.megapixels} megapixels",
        type=[suffix.removeprefix(".") for suffix in photos.SUFFIXES],
        accept_multiple_files=True,
    )
    images = []
    for number, file in enumerate(given):
        try:
            allowed.check_number(number)
            allowed.check_file(file.size)
            computation.check(file.getvalue(), file.name, allowed.pixels)
            images.append((file.getvalue(), file.name))
        except ValueError as error:
            text = str(error)
            st.error(texts.plain(text if text.startswith(file.name) else f"{file.name}: {text}"))
    return images


def chosen_image(tasks: list[computation.Task]) -> int:
    """Index of the image to show, at first the last one."""
    if len(tasks) == 1:
        return 0
    names = [task.name for task in tasks]
    return st.selectbox(
        texts.IMAGE,
        range(len(names)),
        index=len(names) - 1,
        format_func=lambda index: f"{index + 1}. {names[index]}",
        key=f"image of {names}",
    )


def choose_noise(source: str) -> tuple[str, float] | None:
    """Kind and level of the noise to add; None: no noise."""
    options = [NO_NOISE, *KINDS]
    titles = {NO_NOISE: "No added noise"} | {name: kind.title for name, kind in KINDS.items()}
    name = st.selectbox(
        "Noise to add",
        options,
        index=int(source == SAMPLE),
        format_func=titles.__getitem__,
        key=f"noise of {source}",
        label_visibility="collapsed",
    )
    if name == NO_NOISE:
        st.caption(texts.NO_NOISE)
        return None
    kind = KINDS[name]
    level = st.slider(kind.slider, kind.low, kind.high, kind.start, kind.step, key=f"level of {name}")
    st.caption(kind.words)
    return name, level


def choose_models() -> tuple[tuple[str, ...], str]:
    """Names and paths of models, in the order of choice, and the quality of what AUTO chooses."""
    listed = [*denoisers.known(), *denoisers.trained()]
    names = st.multiselect(
        "Denoisers",
        [computation.AUTO, *(entry.name for entry in listed)],
        default=[computation.AUTO],
        max_selections=limits.MODELS,
        placeholder="Choose a denoiser",
        label_visibility="collapsed",
    )
    quality = "best"
    if computation.AUTO in names:
        quality = st.radio(texts.QUALITY, paths.QUALITIES, index=paths.QUALITIES.index(quality), horizontal=True)
    with st.expander("Available denoisers"):
        st.markdown(texts.models(listed))
    return tuple(names), quality


def done(task: computation.Task, allowed: Limits) -> computation.Outcome | None:
    """The task's outcome, computed when it is this visitor's turn; None if it failed, with the reason on the page."""
    visit = session_cleanup.visit()
    if visit.task != task:
        visit.forget_result()
        try:
            visit.outcome, visit.failure = compute(task, allowed)
        except BusyError as busy:
            st.error(texts.plain(str(busy)))
            st.button(texts.AGAIN)  # a click runs the script again
            return None
        visit.task = task
    if visit.failure:
        st.error(texts.plain(visit.failure))
    return visit.outcome


def compute(task: computation.Task, allowed: Limits, before: str = "") -> tuple[computation.Outcome | None, str]:
    """The outcome, or None and the reason; `before` is put before each step. BusyError if a later attempt may
    succeed."""
    if outcome := computation.kept(task):
        return outcome, ""
    place = st.empty()
    status = place.status(texts.place(0))
    try:
        outcome = line().do(
            lambda step: computation.run(task, allowed.pixels, step),
            waiting=lambda ahead: show_step(status, before + texts.place(ahead)),
            tell=lambda step: show_step(status, before + (step or texts.place(0))),
        )
        return outcome, ""
    except BusyError:
        raise
    except batch_denoise.FAULTS as error:
        message = texts.failure(error)
        if devices.is_out_of_memory(error) or isinstance(error, OSError):
            raise BusyError(message) from None
        return None, message
    finally:
        place.empty()


def show_step(status: StatusContainer, text: str) -> None:
    """Show the current step. Streamlit stops the script here if the visitor has left or changed something."""
    status.update(label=text)


def show(outcome: computation.Outcome, task: computation.Task) -> None:
    """Show the slider, the noise estimate, the scores and the downloads."""
    slider(outcome.views, outcome.results[0].model, key="slider")
    st.markdown(texts.noise_found(outcome, task.noise))
    st.markdown(texts.table(outcome))
    if kept := texts.kept(outcome):
        st.markdown(kept)
    st.html(texts.downloads(outcome))


def show_all(tasks: list[computation.Task], allowed: Limits) -> None:
    """The button that denoises all images, then their download."""
    visit = session_cleanup.visit()
    if st.button(texts.all_images(len(tasks))):
        if not visit.archive or visit.archive.tasks != tasks or not visit.archive.left:
            visit.archive = computation.Archive(tasks)
        try:
            visit.archive.fill(lambda task, place: compute(task, allowed, place))
        except BusyError as busy:
            st.error(texts.plain(str(busy)))
    if visit.archive and visit.archive.done:
        for failure in visit.archive.failures:
            st.error(texts.plain(failure))
        st.html(texts.archive(visit.archive))


main()
