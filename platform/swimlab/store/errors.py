"""Errors of a store."""


class StoreError(Exception):
    """The store cannot be used, or its content is not what was committed. The message says what to do."""
