"""Write the pictures and lists of the documentation anew: `python -m docs.make`, from the project's root."""

from pathlib import Path

from docs.make import architectures, flow, licences


def main() -> None:
    pictures = {"pipeline": flow.picture()} | architectures.pictures()
    made = {f"docs/pictures/{name}.svg": text for name, text in pictures.items()}
    for path, text in (made | {"docs/licences.md": licences.page()}).items():
        Path(path).write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
