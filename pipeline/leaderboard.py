"""The leaderboard of all DVC experiments: `python -m pipeline.leaderboard`, whenever some have finished."""

from denoiselab.report import leaderboard
from pipeline import run


def main() -> None:
    print(f"leaderboard: {leaderboard.write()}")


if __name__ == "__main__":
    run(main)
