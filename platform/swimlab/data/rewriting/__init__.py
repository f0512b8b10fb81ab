"""VideoRefer rows into NL-Refer rows: by rules or a language model, as a Ray Data job."""
