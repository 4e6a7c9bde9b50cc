"""The web page of `denoiselab serve`.

Streamlit runs the script `app` for every visitor; `slider` is a component of it, `session_cleanup` deletes visitors'
data, `main` and `server` start the server. The other modules do not use Streamlit. Streamlit puts this folder first on
sys.path: no module here may have the name of a standard library module.
"""
