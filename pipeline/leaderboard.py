"""Write the leaderboard of all finished DVC experiments: `python -m pipeline.leaderboard`."""

from denoiselab.report import leaderboard
from pipeline import run


def main() -> None:
    print(f"leaderboard: {leaderboard.write()}")


if __name__ == "__main__":
    run(main)
