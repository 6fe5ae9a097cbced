"""What a run reads: corpora and label families, opened, mixed, masked, cut into batches."""
