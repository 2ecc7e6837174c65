"""From one machine's roofs and curves to what it will do serving a language model."""
