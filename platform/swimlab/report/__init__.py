"""Results as a table with evidence, and its renderings: HTML, Markdown, LaTeX, terminal, index, trackers."""
