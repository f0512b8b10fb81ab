"""What a store raises."""


class StoreError(Exception):
    """The store cannot be used, or what lies in it is not what was committed. Says what to do."""
