"""Answers of models to the prompts of a data set: generated once, scored by any scorer and judge."""
