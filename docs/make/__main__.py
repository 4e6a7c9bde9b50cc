"""Rewrite the pipeline diagram and the list of licences: `python -m docs.make`, from the project's root."""

from pathlib import Path

from docs.make import flow, licences


def main() -> None:
    for path, text in {"docs/pictures/pipeline.svg": flow.picture(), "docs/licences.md": licences.page()}.items():
        Path(path).write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
