"""The kinds of claim an experiment file can state, one file each: nothing else may lie here."""
