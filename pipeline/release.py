"""Release trained weights: `python -m pipeline.release [--card] NAME`.

Without --card: copies what the experiment in the workspace trained to models/released/ and adds the entries that import
it to conf/model/released. Networks named fast and best become NAME_fast and NAME_best; a single other one becomes NAME.
With --card: writes the scores of these entries, evaluated by the experiment in the workspace, into their model cards.
With --invention: writes the invention test, what the weights make of images without content, into their model cards.
"""

import argparse

from denoiselab import config
from denoiselab.report import release
from pipeline import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--card", action="store_true", help="write the scores into the model cards")
    parts.add_argument("--invention", action="store_true", help="write the invention test into the model cards")
    parser.add_argument("name", metavar="NAME", help="name of the released model or family, such as colour")
    args = parser.parse_args()
    if args.invention:
        written = release.examine(args.name)
    else:
        written = (release.describe if args.card else release.publish)(config.load(), args.name)
    print(*written, sep="\n")


if __name__ == "__main__":
    run(main)
