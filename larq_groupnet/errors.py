"""What a user can mend: one base class, which the command line catches and nothing broader.

A message reads `what: expected X. Received: Y. Do Z.`. Those that are a TypeError, an OSError or an
ImportError too are caught as such by programs that use the package.
"""

from __future__ import annotations


class UserError(ValueError):
    """A wrong value, file or folder. Says what was expected, what was received, what to do."""


class ConfigError(UserError):
    """A `GroupNetConfig` that describes no network."""


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
    """A run that cannot go on, such as one whose loss is no longer finite."""


class OutputError(UserError):
    """A place where results cannot be written, or would take that of a file of another origin."""


class MissingFileError(UserError, FileNotFoundError):
    """A path to nothing."""


class MissingPackageError(UserError, ImportError):
    """A Python package that is needed and not installed. Says how to install it."""


class Interrupted(BaseException):
    """The run was asked to stop. Says what is saved, and how to resume it.

    A request and no mistake, like `KeyboardInterrupt`: Keras and others who wrap every `Exception`
    let it pass.

    Attributes:
        signum: The signal that asked.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum
