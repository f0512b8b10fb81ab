"""Formats of annotation rows. One file, one format: `FORMAT`, a `swim.data.annotations.fields.RowFormat`.

`matches(raw) -> bool` decides whether a row (a dict of any JSON values) is of the format, and never raises. Of all
formats that a data set accepts, exactly one may match. `parse(raw) -> RowContent` reads a matching row or raises
DataError. A new benchmark is one more file, whose `matches` tests for a field that no other format has. If its rows
also have `conversations`, nl-refer matches them too: let the data set then accept the new format alone. `example` is a
right row: the README.md beside shows one of each. A format whose data sets are no files of rows has a `document`.

The first five are of rows that name one `video`.

| decided by | format |
|---|---|
| `Question` | bench-q |
| `caption`, no `Question` | bench-d |
| `conversations` with a `<region>` or `<object0>`, neither of the above | videorefer |
| `conversations` without, `data_source` and no `annotation` | llava-video |
| other `conversations` | nl-refer |
| `conversations` and `videos` | llama-factory |
| `messages` | ms-swift |
| `file_name` or a `video` of bytes, with a text | hf-datasets |
| a list of `videos` with `file_names` | coco-video |
| an object of `videos` with `expressions`; with `mask_folder` | mevis; ref-youtube-vos |

Synonym files differ in the words inside `<ins>` alone, so their rows are rows of the format they were made from.
"""

EXPORT = "FORMAT"
