"""The shapes of public LLMs by any name they go by, or of your own by its config.json.

    >>> model("meta-llama/Llama-3.1-70B-Instruct").params_total
    70553706496

The facts are in models.toml; a Hugging Face config.json is read by bench.models.config.
"""

import tomllib
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from bench.models.config import ModelError, read_config
from bench.transformer import Model

__all__ = ["ModelError", "UnknownModel", "model", "models", "names"]


class UnknownModel(LookupError):
    """No model has that name; the message names the nearest ones."""


@cache
def models() -> tuple[Model, ...]:
    """Every model that the suite knows, in the order of models.toml."""
    table = tomllib.loads(Path(__file__).with_name("models.toml").read_text(encoding="utf-8"))
    rows = ((name, {"ffn": 0} | row | {"aliases": tuple(row["aliases"])}) for name, row in table.items())
    return tuple(Model(name=name, **row) for name, row in rows)


def names() -> tuple[str, ...]:
    return tuple(each.name for each in models())


def model(text: str) -> Model:
    """The model of that name, alias or Hugging Face id, in any case, or that of a config.json or the folder with it.
    Raises UnknownModel with the nearest names, or ModelError where the file is wrong.
    """
    known = _known()
    key = text.strip().lower()
    # whoever re-uploads a model keeps the part after the slash
    for name in (key, key.rsplit("/", 1)[-1]):
        if name in known:
            return known[name]
    if _is_path(text.strip()):
        return read_config(Path(text.strip()))
    near = ", ".join(_nearest(key))
    raise UnknownModel(f"no model {text!r}; nearest: {near}; or give the path of its Hugging Face config.json")


@cache
def _known() -> dict[str, Model]:
    known = {}
    for each in models():
        for name in (each.name, *each.aliases):
            known[name.lower()] = each
            known.setdefault(name.rsplit("/", 1)[-1].lower(), each)
    return known


def _is_path(text: str) -> bool:
    """A name with a slash is a Hugging Face id unless it says otherwise."""
    if text.lower().endswith(".json") or text.startswith(("/", ".", "~")):
        return True
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # too long, or with a null byte
        return False


def _nearest(key: str) -> list[str]:
    """Names of at most three models, by the likeness of any of their names; one that the text begins comes first."""
    last = key.rsplit("/", 1)[-1]
    near = [name for name in _known() if last and name.startswith(last)]
    near += get_close_matches(last, _known(), n=6, cutoff=0.0)
    return list(dict.fromkeys(_known()[name].name for name in near))[:3]
