"""Videos: their location, which frames are kept, and their exact decoding."""
