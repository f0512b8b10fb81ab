"""A trial's weights as a model: written as a folder that others load, and loaded to ask it."""
