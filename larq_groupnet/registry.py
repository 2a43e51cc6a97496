"""Where the models by name were before: `larq_groupnet.family` has them."""

# TODO(lead): drop, when nothing imports it.

from larq_groupnet.family import arguments, get_config, get_model, list_models

__all__ = ["arguments", "get_config", "get_model", "list_models"]
