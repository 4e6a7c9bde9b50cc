"""What Streamlit serves: the page's script, and the files to download from it."""

import gc
from pathlib import Path

from streamlit import App

from denoiselab.app.web.downloads import ROUTE

app = App(Path(__file__).with_name("app.py"), routes=[ROUTE])

# Streamlit searches all objects for garbage after every run of the script: with torch's among them, that took three
# quarters of a run (0.24 s, now 0.1), in which no other visitor's went on. What is loaded by now stays anyway.
gc.collect()
gc.freeze()
