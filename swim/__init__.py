"""SWIM's science: samples, masks, video, attention, objective, metrics, models. Imports no Ray."""
