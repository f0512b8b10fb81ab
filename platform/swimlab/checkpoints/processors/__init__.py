"""How others read the checkpoints of a model family: one file a family, named as its file in `swim.models.families`.

`IMAGE` and `VIDEO` are what the chat template writes for a picture and a video, and the processor expands; `config` is
the content of processor_config.json, as the stock processor writes it. They are not in the family's own file: that is
part of the code that names trials, and a mended export would train them again.
"""

EXPORT = "config"
