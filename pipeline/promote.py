"""Choose the model in production: `python -m pipeline.promote [--force] MODEL`, or `--back`.

Registers the net that the experiment in the workspace trained as MODEL in MLflow, and moves the alias `champion` to it
if it is better than the present champion on the same noisy test images; exit code 1 where it is not. --force moves it
anyway, --back returns to the champion before.
"""

import argparse
import sys

from denoiselab import config
from denoiselab.app import MLFLOW_SERVICE
from denoiselab.tracking import registry
from pipeline import run


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="pipeline.promote", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--force", action="store_true", help="also where it is not better")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--back", action="store_true", help="return to the champion before")
    which.add_argument("model", metavar="MODEL", nargs="?", help="its name in params.models")
    args = parser.parse_args()
    outcome = (
        registry.back() if args.back else registry.promote(config.load(), args.model, MLFLOW_SERVICE, force=args.force)
    )
    if not outcome.moved:
        sys.exit(outcome.said)
    print(outcome.said)


if __name__ == "__main__":
    run(main)
