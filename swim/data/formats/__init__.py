"""What rows of annotation files look like. One file, one format: `FORMAT`, a `swim.data.parse.RowFormat`.

`matches(raw) -> bool` claims a row (a dict of any JSON values) and never raises; of all formats that a data set accepts
exactly one may claim it. `parse(raw) -> Content` reads a claimed row or raises DataError. A new benchmark is one more
file, whose `matches` looks for a field that no other format has. If its rows have `conversations` as well, nl-refer
claims them too: the data set then accepts the new format alone.

| decided by | format |
|---|---|
| `Question` | bench-q |
| `caption`, no `Question` | bench-d |
| `conversations` with a `<region>` or `<object0>`, neither of the above | videorefer |
| `conversations` without, `data_source` and no `annotation` | llava-video |
| other `conversations` | nl-refer |

Synonym files differ in the words inside `<ins>` alone, so their rows are rows of the format they were made from.
"""

EXPORT = "FORMAT"
