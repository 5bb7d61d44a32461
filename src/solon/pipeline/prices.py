"""What models behind servers cost: a dated table that the user writes. The package ships the format and no prices.

`data/prices.example.yaml` says how a table is filled in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from solon.errors import ConfigError
from solon.lm import ModelSpec, Price
from solon.lm.server.address import parse_address
from solon.lm.spec import LOCAL, SERVER
from solon.messages import one_line
from solon.pipeline.overrides import validate
from solon.records import Config, PriceOrigin
from solon.storage import content_digest

Amount = Annotated[float, Field(ge=0.0, strict=True)]


class ModelPrice(Config):
    """What one model costs.

    Attributes:
        model: its name, as in `URL#MODEL`.
        currency: three letters.
        prompt: per million tokens of prompts.
        cached: per million of those that the server had in its cache; None is as any other.
        output: per million tokens written.
        as_of: when that was so.
    """

    model: str = Field(min_length=1)
    currency: str = Field(pattern="^[A-Z]{3}$")
    prompt: Amount
    cached: Amount | None = None
    output: Amount
    as_of: date


@dataclass(frozen=True)
class PriceTable:
    """Prices by model.

    Attributes:
        source: the file.
        prices: in the file's order, each model once, all in one currency.
    """

    source: str
    prices: tuple[ModelPrice, ...]

    @property
    def currency(self) -> str:
        """The currency of all."""
        return self.prices[0].currency

    @property
    def origin(self) -> PriceOrigin:
        """Which table it is, for the run's header."""
        body = [price.model_dump(mode="json") for price in self.prices]
        days = [price.as_of for price in self.prices]
        return PriceOrigin(
            source=self.source,
            name=self.currency,
            digest=content_digest(body),
            as_of=(min(days).isoformat(), max(days).isoformat()),
        )

    def find(self, spec: ModelSpec) -> Price | None:
        """Return the price of a model; None where it is in this process, or the table does not have it."""
        name = name_of(spec)
        found = next((price for price in self.prices if spec.backend != LOCAL and price.model == name), None)
        if found is None:
            return None
        return Price(found.prompt, found.output, found.prompt if found.cached is None else found.cached)


def name_of(spec: ModelSpec) -> str:
    """Return the name of a model as price tables have it."""
    return parse_address(spec.source).model if spec.backend == SERVER else spec.source


def load_prices(source: str) -> PriceTable:
    """Read a table.

    Raises:
        ConfigError: it cannot be read, or an entry is wrong; file and entry are named.
    """
    path = Path(source)
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"prices: {path}: cannot be read as a table of prices: {said}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"prices: {path}: is not YAML: {one_line(error)}") from error
    if not isinstance(body, list) or not body:
        raise ConfigError(
            f"prices: {path}: expected a list of models with their prices (- model: NAME, currency, prompt, output, "
            f"as_of), found {'an empty list' if body == [] else type(body).__name__}"
        )
    prices = []
    for number, entry in enumerate(body, 1):
        if not isinstance(entry, dict):
            raise ConfigError(f"prices: {path}: entry {number}: expected fields, found {type(entry).__name__}")
        prices.append(validate(ModelPrice, entry, where=f"prices: {path}: entry {number}"))
    _refuse_repeated(path, [price.model for price in prices])
    if len(currencies := sorted({price.currency for price in prices})) > 1:
        raise ConfigError(
            f"prices: {path}: has prices in {' and '.join(currencies)}, which cannot be added up: give all in one"
        )
    return PriceTable(source, tuple(prices))


def _refuse_repeated(path: Path, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"prices: {path}: {name} is there twice: remove one")
        seen.add(name)
