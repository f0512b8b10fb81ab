"""Searches: Optuna proposes points of a space over the recipe's fields, Ray Tune runs them, the store answers."""

from swimlab.search.space import Choice, Float, Int, Pruning, Search

__all__ = ["Choice", "Float", "Int", "Pruning", "Search"]
