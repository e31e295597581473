"""Models for what recurrent networks are used for, by the name of an architecture."""

from collections.abc import Sequence
from typing import Any, Literal

from seqjax import nn
from seqjax.models.model import Model, checked_kind, from_layer
from seqjax.nn.layer import Inputs, Tokens
from seqjax.ops.cell import Linear


def layers(
    architecture: str, features: Sequence[int], *, dropout: float = 0.0, **options: Any
) -> tuple[nn.Layer, ...]:
    """Sequence layers of an architecture, one above the other, without a head.

    Cells that are linear in their state (min_gru, min_lstm, lru) stand in residual blocks,
    whose gates are the nonlinearity that they lack.

    Args:
        architecture: the name of a cell (`seqjax.ops.CELLS`), or "wavenet".
        features: width of each layer; of a WaveNet that of its residual channels and its output.
        dropout: rate within residual blocks and WaveNets; elsewhere it belongs between layers.
        **options: further attributes of every layer (`seqjax.nn.LSTM`, `seqjax.nn.WaveNet`, ...).

    Raises:
        ValueError: for no widths, or an unknown architecture or option.

    Example:
        >>> [type(layer).__name__ for layer in layers("lru", (16, 16))]
        ['Dense', 'Residual', 'Residual']
    """
    kind = checked_kind(architecture, {"wavenet": nn.WaveNet}, features, options)
    if architecture == "wavenet":
        residual, output = features[0], features[-1]
        return (
            nn.WaveNet(output, **{"residual_features": residual, "dropout": dropout} | options),
        )
    made = [kind(width, **options) for width in features]
    if not isinstance(made[0].cell.form, Linear):
        return tuple(made)
    found: list[nn.Layer] = []
    for width, layer in zip(features, made, strict=True):
        if not found or found[-1].features != width:  # pyright: ignore[reportAttributeAccessIssue]
            found.append(nn.Dense(width))
        found.append(nn.Residual(layer, width, dropout))
    return tuple(found)


def both_directions(
    caller: str, architecture: str, layers: Sequence[nn.Layer]
) -> tuple[nn.Layer, ...]:
    """Each of the layers in both directions; ValueError for what has only one."""
    if not all(isinstance(layer, nn.Recurrent) for layer in layers):
        raise ValueError(f"{caller}: {architecture} has no two directions here.")
    return tuple(nn.Bidirectional(layer) for layer in layers)


def classifier(
    architecture: str,
    *,
    inputs: Inputs,
    classes: int,
    features: Sequence[int] = (64,),
    embedding: int = 64,
    bidirectional: bool = False,
    pool: Literal["max", "mean", "both"] | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> Model:
    """A sequence in, the logits of its class out (many-to-one).

    Args:
        architecture: see `layers`.
        inputs: number of input features, or ``nn.Tokens(vocab_size)``.
        classes: number of classes.
        features: width of each layer (of each direction).
        embedding: features of a token's vector.
        bidirectional: read in both directions; of recurrent cells that are not linear.
        pool: over time, in place of the answer at the end.
        dropout: rate between layers.
        **options: see `layers`.

    Returns:
        The model; y is [batch, classes].

    Raises:
        ValueError: see `layers`; for two directions of what has only one.

    Example:
        >>> import jax
        >>> model = classifier("gru", inputs=Tokens(50), classes=3, bidirectional=True, pool="both")
        >>> params = model.init(jax.random.key(0))
        >>> tokens = jax.numpy.array([[3, 1, 4], [1, 5, 0]])
        >>> model.apply(params, tokens, seq_lengths=jax.numpy.array([3, 2])).shape
        (2, 3)
    """
    body = layers(architecture, features, dropout=dropout, **options)
    if bidirectional:
        body = both_directions("classifier", architecture, body)
    below = (nn.Embed(inputs.vocab_size, embedding),) if isinstance(inputs, Tokens) else ()
    above = () if pool is None else (nn.Pool(pool),)
    stack = nn.Stack((*below, *body, *above, nn.Dense(classes)), dropout=dropout)
    return from_layer(stack, inputs, last=True)


def language_model(
    architecture: str,
    *,
    vocab_size: int,
    features: Sequence[int] = (256,),
    embedding: int = 64,
    ngrams: int = 0,
    ngram_dropout: float = 0.0,
    recall: Sequence[int] = (),
    dropout: float = 0.0,
    **options: Any,
) -> Model:
    """Tokens in, the logits of the token after each out (many-to-many, aligned).

    Args:
        architecture: see `layers`.
        vocab_size: tokens are 0, ..., vocab_size - 1.
        features: width of each layer.
        embedding: features of a token's vector.
        ngrams: order of the n-grams that have vectors, too (`seqjax.nn.NGramEmbed`); 0 for none.
        ngram_dropout: rate at which training leaves an n-gram's vector out.
        recall: lengths of n-grams whose last continuation in the text is an input, too.
        dropout: rate between layers.
        **options: see `layers`.

    Returns:
        The model; y is [batch, time, vocab_size]. `seqjax.models.generate` and
        `seqjax.models.stream` continue texts with it.

    Raises:
        ValueError: see `layers`; for `ngram_dropout` or `recall` without `ngrams`.

    Example:
        >>> import jax
        >>> model = language_model("lstm", vocab_size=50, features=(32,))
        >>> params = model.init(jax.random.key(0))
        >>> model.apply(params, jax.numpy.array([[3, 1, 4]])).shape
        (1, 3, 50)

    Source: Mikolov et al., "Recurrent neural network based language model", Interspeech 2010.
    """
    body = layers(architecture, features, dropout=dropout, **options)
    embed = nn.Embed(vocab_size, embedding)
    if ngrams:
        how = {"dropout": ngram_dropout, "recall": tuple(recall)}
        embed = nn.NGramEmbed(vocab_size, embedding, ngrams, **how)
    elif ngram_dropout or recall:
        raise ValueError("language_model: ngram_dropout and recall need ngrams of 2 or more.")
    stack = nn.Stack((embed, *body, nn.Dense(vocab_size)), dropout)
    return from_layer(stack, nn.Tokens(vocab_size))
