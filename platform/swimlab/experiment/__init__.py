"""What an experiment file declares, its plan, its protocol and what it will take."""
