"""Write the pictures and lists of the documentation anew: `python -m docs.make`."""

from pathlib import Path

from docs.make import architectures, flow

PICTURES = Path("docs/pictures")


def main() -> None:
    for name, text in ({"pipeline": flow.picture()} | architectures.pictures()).items():
        path = PICTURES / f"{name}.svg"
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
