"""The one error of this room: one clear line that says what is wrong and what to do."""


class ServingError(ValueError):
    """A question that cannot be answered as it was put."""
