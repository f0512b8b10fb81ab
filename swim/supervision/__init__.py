"""From noun tokens to the mask loss: the probe, fusion over layers, normalisation, losses, the objective."""
