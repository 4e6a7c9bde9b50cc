"""Release trained weights: `python -m pipeline.release [--card] NAME`.

Without --card: copies the network that the experiment in the workspace trained to models/released/NAME, and adds the
entry that imports it to conf/model/released. With --card: writes the scores of that entry, evaluated by the experiment
in the workspace, into its model card.
"""

import argparse

from denoiselab import config
from denoiselab.report import release
from pipeline import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", action="store_true", help="write the scores into the model card")
    parser.add_argument("name", metavar="NAME", help="name of the released model")
    args = parser.parse_args()
    print((release.describe if args.card else release.publish)(config.load(), args.name))


if __name__ == "__main__":
    run(main)
