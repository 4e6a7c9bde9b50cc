"""Promote a model to production: `python -m pipeline.promote [--force] MODEL`, or `--back`.

Registers the network that the experiment in the workspace trained as MODEL in MLflow, and gives it the alias `champion`
if it is better than the current champion on the same noisy test images; exit code 1 if not. --force promotes it in any
case; --back restores the previous champion.
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
    parser.add_argument("--force", action="store_true", help="promote the model even if it is not better")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--back", action="store_true", help="restore the previous champion")
    which.add_argument("model", metavar="MODEL", nargs="?", help="name in params.models")
    args = parser.parse_args()
    outcome = (
        registry.rollback()
        if args.back
        else registry.promote(config.load(), args.model, MLFLOW_SERVICE, force=args.force)
    )
    if not outcome.moved:
        sys.exit(outcome.said)
    print(outcome.said)


if __name__ == "__main__":
    run(main)
