"""Kinds of examples that are made of documents, a module each.

`paired` (sentence pairs), `packed` (full sentences), `blocks` (running text cut to length), `lines`
(a row a line); `settings` says which options each kind takes, `frame` what stands around its
tokens, `chains` which documents share rows, `maker` puts them together.
"""
