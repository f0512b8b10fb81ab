"""The embedded data set: vocabulary, drawing, files, and the tokenizer of the tiny models."""
