"""Model families: one file per `config.model_type`, with `Family`, a subclass of `swim.data.family.Family`. The
README.md beside says how to write one."""

EXPORT = "Family"
