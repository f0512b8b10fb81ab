"""Arms of prompts: how the rows of a data set become questions, one arm to a file with
`prompts(clip: swim.data.types.Clip) -> list[swim.evaluation.generate.Prompt]`.

The arm is part of a generation's name, and of its code only the file of the arm that it uses. Other wordings that stand
in an annotation file of their own (synonyms) are another data set, not another arm.
"""

EXPORT = "prompts"
