"""The positions of a model family's visual tokens: all that SWIM needs of it. One file per `config.model_type`.

`locate(config, inputs, ids_L, nth) -> Visual | None`: `config` is `model.config`, `inputs` the keywords of the model's
call, `ids_L` the token ids of one document, `nth` how many documents with a video came before it in the batch; None for
a document without a video token. Raises ValueError where the tokens do not fill the video's grid.
"""

EXPORT = "locate"
