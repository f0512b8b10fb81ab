"""Storage backends of a store: local disk and object storage."""
