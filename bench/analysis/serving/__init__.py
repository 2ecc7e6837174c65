"""From one machine's roofs and curves to what it will do serving a language model."""


class ServingError(ValueError):
    """A question that cannot be answered as it was put: one clear line that says what is wrong and what to do."""
