"""Errors that a user can fix. The command line catches their base class and nothing broader.

A message reads `what: expected X. Received: Y. Do Z.`. Some errors are also a TypeError,
an OSError or an ImportError, so programs that use the package can catch them as such.
"""

from __future__ import annotations


class UserError(ValueError):
    """A wrong value, file or folder. Says what was expected and received, and what to do."""


class ConfigError(UserError):
    """A `GroupNetConfig` that does not describe a valid network."""


class UnknownOptionError(UserError, TypeError):
    """An option that the model or the function does not have."""


class DatasetError(UserError):
    """A dataset that cannot be opened, or does not fit the network."""


class RecipeError(UserError):
    """A recipe, a flag or a run's folder that cannot be used."""


class WeightsError(UserError):
    """Weights that cannot be read, or do not fit the network."""


class ConversionError(UserError):
    """A model that cannot be converted, or a converted file that cannot be used."""


class TrainingError(UserError, ArithmeticError):
    """A run that cannot continue, for example because its loss is not finite."""


class OutputError(UserError):
    """An output path that cannot be written, or that holds files of another origin."""


class MissingFileError(UserError, FileNotFoundError):
    """A path that does not exist."""


class MissingPackageError(UserError, ImportError):
    """A required Python package that is not installed. Says how to install it."""


class Interrupted(BaseException):
    """The run was asked to stop. Says what is saved and how to resume.

    A request, not a mistake, like `KeyboardInterrupt`: Keras and other libraries that wrap every
    `Exception` let it pass.

    Attributes:
        signum: Number of the signal.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum
