"""The keys of a config.json, checked one by one: what is missing, of the wrong kind, or absurd."""

import json
from collections.abc import Mapping
from typing import Any

# key -> the largest value that is not a typing error
LIMITS = {"num_hidden_layers": 2000, "head_dim": 4096, "vocab_size": 10**7, "max_position_embeddings": 10**9}
LIMIT = 10**6


class ModelError(ValueError):
    """A config.json cannot be read as a transformer; one line says why."""


class Keys:
    """The keys of a config.json, checked as they are read; those that are missing are named together."""

    def __init__(self, found: Mapping[str, Any]):
        self.found = found
        self.missing: list[str] = []

    def count(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number; a key that is absent or null has its default, or counts as missing and is 1 until then."""
        value = self.found.get(key)
        if value is None:
            if default is None:
                self.missing += [key] if key not in self.missing else []
                return 1
            return default
        most = LIMITS.get(key, LIMIT)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            shown = json.dumps(value)
            shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
            raise ModelError(f"{key} is {shown}; it must be a whole number from {least} to {most}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.found.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ModelError(f"{key} is {json.dumps(value)[:40]}; it must be true or false")
        return value

    def list(self, key: str) -> list:
        value = self.found.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ModelError(f"{key} is {json.dumps(value)[:40]}; it must be a list")
        return value

    def per_layer(self, key: str) -> list:
        """A list with one entry per layer, or empty."""
        value, layers = self.list(key), self.count("num_hidden_layers")
        self.refuse(bool(value) and len(value) != layers, f"{key} has {len(value)} entries for {layers} layers")
        return value

    def refuse(self, contradiction: bool, text: str) -> None:
        """Raises ModelError for a contradiction, unless it is only a missing key's stand-in that contradicts."""
        if contradiction and not self.missing:
            raise ModelError(text)

    def complete(self) -> None:
        """Raises ModelError with every key that was missing."""
        if self.missing:
            raise ModelError(f"missing: {', '.join(self.missing)}")
