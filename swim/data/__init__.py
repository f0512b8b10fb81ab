"""From annotation files to model inputs: samples, markup, masks, video, encoding, and the embedded data set."""
