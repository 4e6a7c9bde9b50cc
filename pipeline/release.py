"""Publish trained weights: `python -m pipeline.release [--card] NAME`.

Without --card the net that the experiment in the workspace trained becomes models/released/NAME, and
conf/model/released gets the entry that imports it. With --card the experiment has evaluated that entry, and the card
gets the numbers.
"""

import argparse

from denoiselab import config
from denoiselab.report import release
from pipeline import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", action="store_true", help="write what was measured into the card")
    parser.add_argument("name", metavar="NAME")
    args = parser.parse_args()
    print((release.describe if args.card else release.publish)(config.load(), args.name))


if __name__ == "__main__":
    run(main)
