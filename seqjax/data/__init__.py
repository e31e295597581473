"""Series, scalers, windows and splits; text as tokens; sound: numpy and pandas, no JAX."""

from seqjax.data.cells import DataError as DataError
from seqjax.data.labelled import (
    Labelled as Labelled,
    read_labelled as read_labelled,
    stratified_folds as stratified_folds,
    stratified_parts as stratified_parts,
)
from seqjax.data.options import (
    SERIES_OPTIONS as SERIES_OPTIONS,
    SeriesOptions as SeriesOptions,
)
from seqjax.data.pieces import Pieces as Pieces, pieces as pieces
from seqjax.data.scalers import (
    Scaler as Scaler,
    min_max_scaler as min_max_scaler,
    scale as scale,
    standard_scaler as standard_scaler,
    unscale as unscale,
)
from seqjax.data.series import MILK_CSV as MILK_CSV, read_series as read_series
from seqjax.data.sound import (
    mu_law_decode as mu_law_decode,
    mu_law_encode as mu_law_encode,
    read_wav as read_wav,
    read_wavs as read_wavs,
    resampled as resampled,
    write_wav as write_wav,
)
from seqjax.data.synthetic import NOISE_VARIANCE as NOISE_VARIANCE, two_sines as two_sines
from seqjax.data.text import (
    END as END,
    PADDING as PADDING,
    START as START,
    UNKNOWN as UNKNOWN,
    Vocabulary as Vocabulary,
    characters as characters,
    padded as padded,
    utf8_bytes as utf8_bytes,
    words as words,
)
from seqjax.data.windows import (
    Split as Split,
    Windows as Windows,
    chronological_split as chronological_split,
    next_values as next_values,
    windows as windows,
)
