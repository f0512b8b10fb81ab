"""The commands about stores, one file a command: its flags, what it prints, its exit codes."""
