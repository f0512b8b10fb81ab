"""The base class of whatever a recipe holds."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, and strict about names: a field nobody knows is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
