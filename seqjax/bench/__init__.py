"""Benchmarks: our layers, compilation, training and generation beside other libraries.

``./scripts/bench`` is the command. Contestants run in processes of their own and take
turns (`seqjax.bench.turns`); a figure keeps every round (`seqjax.bench.report`).
"""
