"""From annotations to clips, by Ray Data: prepare, stream, quarantine; doctor; rewriting."""
