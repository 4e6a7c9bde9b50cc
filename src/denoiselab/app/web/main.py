"""The Streamlit application: the page's script and the downloads."""

import gc
from pathlib import Path

from streamlit import App

from denoiselab.app.web.downloads import ROUTE

app = App(Path(__file__).with_name("app.py"), routes=[ROUTE])

# Streamlit runs the garbage collector after every run of the script. With torch's objects this took three quarters of a
# run (0.24 s, now 0.1 s) and blocked other visitors. Objects loaded so far are permanent: exclude them.
gc.collect()
gc.freeze()
