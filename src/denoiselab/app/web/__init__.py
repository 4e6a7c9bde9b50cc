"""The web page of `denoiselab serve`.

`app` is the script that Streamlit runs for every visitor, `slider` a component of it, `leaving` ends visits; but for
`main` and `server`, which start it, the other modules know nothing of Streamlit. It puts this folder first on the path,
so no module here may have the name of one of the standard library.
"""
