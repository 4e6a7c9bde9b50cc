"""Mistakes of the user, told in one line without a traceback. Every other exception is a fault of the program."""


class UserError(ValueError):
    """What is wrong, where, and what is allowed."""


class SettingsError(UserError):
    """Mistakes in settings, one of `lines` each."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lines = text.split("\n")


class UnsupportedError(UserError):
    """An undamaged file of a kind that is not supported. Whatever else a decoder raises means damage."""


class BusyError(UserError):
    """What would succeed at another time: the queue is full, or memory is short."""
