"""python -m denoiselab.app.cli"""

from denoiselab.app.cli import main

main()
