"""python -m denoiselab.cli"""

from denoiselab.cli import main

main()
