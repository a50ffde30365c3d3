"""Files and short texts compressed with a model's predictions."""
