"""The command `denoiselab`. A module here is a subcommand and has a function of its own name; those with a leading
underscore are shared. Whatever is slow to import is imported by the functions that need it: help answers at once.
"""

import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

app = typer.Typer(
    help="Denoise pictures, and find out which denoiser is the right one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is the same text in every terminal, and in docs/commands.md
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from denoiselab import __version__

        print(f"denoiselab {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Say the version and exit."
    ),
) -> None:
    pass


for _name in sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")):
    app.command(_name)(getattr(import_module(f"{__name__}.{_name}"), _name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends it with one line on stderr and exit code 1, wrong usage with 2."""
    try:
        app(args=arguments, prog_name="denoiselab")
    except ValueError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
