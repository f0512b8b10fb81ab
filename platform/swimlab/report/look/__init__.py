"""Where a model looks while it is asked about a video: a film, a contact sheet, arrays and a page."""
