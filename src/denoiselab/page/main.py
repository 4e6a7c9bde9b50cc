"""What Streamlit serves: the page's script, and the files to download from it."""

from pathlib import Path

from streamlit import App

from denoiselab.page.downloads import ROUTE

app = App(Path(__file__).with_name("app.py"), routes=[ROUTE])
