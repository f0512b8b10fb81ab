"""Chat completions: cached by content, within a budget and a rate."""
