"""Models for what recurrent networks are used for, by the name of an architecture."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from seqjax import nn
from seqjax.models.model import Model, from_layer
from seqjax.nn.layer import Inputs, Tokens
from seqjax.ops.cell import Linear
from seqjax.storage.strict_json import nearest

Features = int | Sequence[int]  # the width of one layer, or of each, from the input upwards

_KINDS: dict[str, Any] = {**nn.LAYERS, "conv": nn.CausalConv, "wavenet": nn.WaveNet}


def layers(
    architecture: str, features: Features, *, dropout: float = 0.0, **options: Any
) -> tuple[nn.Layer, ...]:
    """Sequence layers of an architecture, one above the other, without a head.

    Cells that are linear in their state (min_gru, min_lstm, lru) stand in residual blocks,
    whose gates are the nonlinearity that they lack.

    Args:
        architecture: the name of a cell (`seqjax.ops.CELLS`: "rnn", "lstm", "gru", ...), "conv"
            (causal convolutions of two taps with relu, dilated by 1, 2, 4, ... from layer to
            layer), or "wavenet".
        features: width of each layer, from the input upwards, or of the only one; of a WaveNet
            that of its residual channels and of its output.
        dropout: rate within residual blocks and WaveNets; elsewhere it belongs between layers.
        **options: further attributes of every layer (`seqjax.nn.Recurrent`, `LSTM`,
            `CausalConv`, `WaveNet`, ...).

    Raises:
        ValueError: for no widths, or an unknown architecture or option.

    Example:
        >>> [type(layer).__name__ for layer in layers("lru", (16, 16))]
        ['Dense', 'Residual', 'Residual']
    """
    widths = widths_of(features)
    kind = _checked_kind(architecture, options)
    if architecture == "wavenet":
        sizes = {"residual_features": widths[0], "dropout": dropout}
        return (nn.WaveNet(widths[-1], **sizes | options),)
    if architecture == "conv":
        options = {"kernel_size": 2, "activation": "relu"} | options
        each = [{"dilation": 2**depth} | options for depth in range(len(widths))]
        return tuple(kind(width, **one) for width, one in zip(widths, each, strict=True))
    made = [kind(width, **options) for width in widths]
    if not isinstance(made[0].cell.form, Linear):
        return tuple(made)
    found: list[nn.Layer] = []
    for width, layer in zip(widths, made, strict=True):
        if not found or found[-1].features != width:  # pyright: ignore[reportAttributeAccessIssue]
            found.append(nn.Dense(width))
        found.append(nn.Residual(layer, width, dropout))
    return tuple(found)


def widths_of(features: Features) -> tuple[int, ...]:
    """The width of each layer; ValueError for none, or one below 1."""
    if isinstance(features, np.ndarray | np.generic):
        features = features.tolist()
    widths = tuple(features) if isinstance(features, Sequence) else (features,)
    if not widths or min(widths) < 1:
        raise ValueError(
            "features must be the width of at least one layer, each of them 1 or more, not"
            f" {features!r}."
        )
    return widths


def _checked_kind(architecture: str, options: Mapping[str, Any]) -> Any:
    """The layer of an architecture; ValueError for an unknown one, or an unknown option."""
    if architecture not in _KINDS:
        hint = nearest(architecture, _KINDS)
        raise ValueError(f"architecture must be one of {(*_KINDS,)}, not {architecture!r}.{hint}")
    kind = _KINDS[architecture]
    for name in options.keys() - kind.__dataclass_fields__.keys():
        hint = nearest(name, kind.__dataclass_fields__)
        raise ValueError(f"{architecture} has no option {name!r}.{hint}")
    return kind


def make(
    architecture: str,
    *,
    inputs: int,
    features: Features,
    outputs: int,
    last: bool = False,
    dropout: float = 0.0,
    remat: bool = False,
    **options: Any,
) -> Model:
    """A stack of layers under a dense head, as pure functions.

    Args:
        architecture: see `layers`.
        inputs: number of input features.
        features: width of each layer, from the input upwards, or of the only one.
        outputs: number of outputs of the head.
        last: answer at each sequence's last step only (many-to-one), rather
            than at every step (many-to-many).
        dropout: rate of the dropout after each layer below the head.
        remat: recompute each layer in the backward pass (`jax.checkpoint`).
        **options: see `layers`.

    Returns:
        The model.

    Raises:
        ValueError: see `layers`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = make("lstm", inputs=1, features=(8, 8), outputs=1, last=True)
        >>> params = model.init(jax.random.key(0))
        >>> model.apply(params, jnp.ones((2, 12, 1))).shape
        (2, 1)
        >>> carry, y = model.step(params, model.initial_carry(2), jnp.ones((2, 1)))
        >>> y.shape
        (2, 1)
    """
    body = layers(architecture, features, dropout=dropout, **options)
    return from_layer(nn.Stack((*body, nn.Dense(outputs)), dropout, remat), inputs, last=last)


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
    features: Features = (64,),
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
    features: Features = (256,),
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
