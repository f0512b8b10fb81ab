"""Where a store's objects lie: local disk or object storage."""
