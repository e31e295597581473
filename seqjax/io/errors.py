"""What goes wrong with weights."""


class WeightsError(ValueError):
    """Weights that cannot be saved, read, or used; the message names file and leaf."""
