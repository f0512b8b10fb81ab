"""Where a model family's visual tokens are: all that SWIM needs of it. One file per `config.model_type`.

`locate(config, inputs, ids_L, nth) -> Visual | None`: `config` is `model.config`, `inputs` the keywords of the model's
call, `ids_L` the token ids of one document, `nth` how many documents with a video came before it in the batch; None for
a document without a video token. Raises ValueError where the tokens do not fill the video's grid.

`positions(config, inputs) -> Tensor | None`, where the family has rotary positions of its own: the `position_ids` of
the batch by the rule of the model's authors (see `swim.data.positions`); None where there is no visual token.
"""

EXPORT = "locate"
