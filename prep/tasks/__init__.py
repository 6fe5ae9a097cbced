"""Rows of labelled tasks, from tables, JSON lines, CoNLL files and SQuAD's JSON.

`reading` yields what a file's rows say, or why one cannot be used; `labels` numbers the labels;
`encoding` and `windows` make the rows of examples; `settings` says what may be asked for.
"""
