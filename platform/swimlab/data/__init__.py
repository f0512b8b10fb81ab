"""Annotations to decoded clips with Ray Data: preparation, streaming and quarantine; doctor; rewriting."""
