"""Recurrences as one GPU kernel: `implementation="pallas"`; docs/gpu-kernels.md.

`shapes` says what fits and needs no Pallas; `recurrence` is imported where it is used.
"""
