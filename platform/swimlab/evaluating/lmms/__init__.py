"""General benchmarks of lmms-eval, which runs in a Python environment of its own (`make lmms-env`)."""
