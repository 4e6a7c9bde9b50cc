"""User errors, reported in one line without a traceback. Every other exception is a bug."""


class UserError(ValueError):
    """`place: what is wrong, what is allowed or what to do`."""


class SettingsError(UserError):
    """Mistakes in settings, one in each of `lines`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lines = text.split("\n")


class DivergedError(UserError):
    """A training whose loss, scores or weights are not finite."""


class UnsupportedError(UserError):
    """An intact file of an unsupported kind. Any other error of a decoder means a damaged file."""


class BusyError(UserError):
    """May succeed later: the queue is full, or memory is short."""
