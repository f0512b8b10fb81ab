"""The id of a trial: a hash of its canonical recipe, the source it runs and the data it uses."""
