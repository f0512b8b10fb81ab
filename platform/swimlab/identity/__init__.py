"""What names a trial: its canonical recipe, the source it runs, the data it sees."""
