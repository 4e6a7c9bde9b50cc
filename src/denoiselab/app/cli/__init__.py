"""The command `denoiselab`.

Each module here is a subcommand with a function of the same name; modules with a leading underscore are shared. Slow
imports are inside the functions that need them, so that --help answers at once.
"""

import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from denoiselab.runtime.errors import UserError
from denoiselab.runtime.sanitize import error_message, printable


class _Printable:
    """Escapes unprintable characters in error messages about the arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        any_given = bool(args)  # without arguments, the error is the help text
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc]
        except Exception as error:
            if any_given and isinstance(said := getattr(error, "message", None), str):
                error.message = printable(said)  # type: ignore[attr-defined]
            raise


class _Group(_Printable, TyperGroup):
    pass


app = typer.Typer(
    cls=_Group,
    help="Denoise images and find the right denoiser for them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the same help text in every terminal and in docs/commands.md
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
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


class _Command(_Printable, TyperCommand):
    """If only one value is given for IN... OUT, reports OUT as missing (typer reports IN)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = any(not argument.startswith("-") for argument in args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            arguments: list[Any] = [parameter for parameter in self.params if parameter.param_type_name == "argument"]
            if given and len(arguments) > 1 and error.param is arguments[0]:
                error.param = arguments[1]
            raise


for _name in sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")):
    app.command(_name, cls=_Command)(getattr(import_module(f"{__name__}.{_name}"), _name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. A user error ends it with one line on stderr and exit code 1, wrong usage with 2."""
    try:
        app(args=arguments, prog_name="denoiselab")
    except (UserError, OSError) as error:
        sys.exit(error_message(error))
    except Exception as error:
        from denoiselab.runtime.devices import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        sys.exit("error: not enough memory; try a smaller image or fewer models at a time")
