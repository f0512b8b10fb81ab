"""One prefix on disk or object storage: records, attempts, leases, snapshots, tables, garbage collection."""
