"""One file for each peer: the same layer, built with another library.

Each has ``layer(case) -> Prepared`` and imports its library; a layer that the library
does not have raises `seqjax.bench.worker.NoSuchLayerError`, and the row says so.
"""
