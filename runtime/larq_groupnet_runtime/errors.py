"""The one error that what a user gives can cause."""


class InputError(ValueError):
    """A file, an image or an environment that cannot be used: one line says why."""


def one_line(error: BaseException) -> str:
    """What an error of another library says, without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
