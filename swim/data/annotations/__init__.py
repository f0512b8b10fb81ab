"""From a row to a sample: fields, marks in texts, and masks by object and frame."""
