"""The before/after slider, a Streamlit component made of slider.html, slider.css and slider.js."""

from dataclasses import asdict
from pathlib import Path

import streamlit as st

from denoiselab.app.web.views import Views

FOLDER = Path(__file__).parent


def slider(views: Views, right: str, key: str) -> None:
    """Show two of the views, at first the first one and `right`; the visitor can choose others."""
    html, css, js = ((FOLDER / f"slider.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    component = st.components.v2.component("denoiselab_slider", html=html, css=css, js=js)
    component(data={**asdict(views), "right": right}, key=key)
