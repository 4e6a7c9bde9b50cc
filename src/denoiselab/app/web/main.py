"""The Streamlit application: the page's script and the downloads, behind the gate."""

import gc
import os
import sys
from pathlib import Path

from starlette.middleware import Middleware
from streamlit import App

from denoiselab.app.web.downloads import ROUTE
from denoiselab.app.web.gate import Gate
from denoiselab.app.web.limits import Limits
from denoiselab.app.web.server import TOKEN

gate = Middleware(Gate, token=os.environ.pop(TOKEN, ""), allowed=Limits(*map(int, sys.argv[1:])))
app = App(Path(__file__).with_name("app.py"), routes=[ROUTE], middleware=[gate])

# Streamlit runs the garbage collector after every run of the script. With torch's objects this took three quarters of a
# run (0.24 s, now 0.1 s) and blocked other visitors. Objects loaded so far are permanent: exclude them.
gc.collect()
gc.freeze()
