"""Models that say something about something else: a caption of a picture, a translation."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
from jax import Array

from seqjax import nn
from seqjax.models.architectures import Features, both_directions, layers, widths_of
from seqjax.models.model import Model, Params, from_layer


def captioner(
    architecture: str,
    *,
    vocab_size: int,
    condition: int,
    features: Features = (128,),
    embedding: int = 64,
    encoder: nn.Layer | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> Model:
    """A language model that a vector conditions (one-to-many): tokens in, logits of the next out.

    ``context={"condition": [batch, condition]}`` is read at every step, beside the embedding of
    the token before.

    Args:
        architecture: see `seqjax.models.layers`.
        vocab_size: tokens are 0, ..., vocab_size - 1.
        condition: features of the vector.
        features: width of each layer.
        embedding: features of a token's vector.
        encoder: a layer over the vector first, such as ``nn.Dense(64, "relu")``.
        dropout: rate of the dropout between layers.
        **options: see `seqjax.models.layers`.

    Returns:
        The model; `seqjax.models.generate` and `beam_search` make captions with it.

    Raises:
        ValueError: see `seqjax.models.layers`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = captioner("gru", vocab_size=20, condition=64, features=(32,))
        >>> params, words = model.init(jax.random.key(0)), jnp.array([[1, 5, 7]])
        >>> model.apply(params, words, context={"condition": jnp.ones((1, 64))}).shape
        (1, 3, 20)

    Source: Vinyals et al., "Show and tell", arXiv 1411.4555; where the vector goes in: see
    `seqjax.nn.Condition`.
    """
    told = nn.Stack((nn.Embed(vocab_size, embedding), nn.Condition(condition, encoder=encoder)))
    body = layers(architecture, features, dropout=dropout, **options)
    stack = nn.Stack((told, *body, nn.Dense(vocab_size)), dropout)
    return from_layer(stack, nn.Tokens(vocab_size))


def seq2seq(
    architecture: str,
    *,
    source_vocab_size: int,
    target_vocab_size: int,
    features: Features = (128,),
    embedding: int = 64,
    attention: Literal["dot", "additive"] | None = "dot",
    bidirectional: bool = True,
    dropout: float = 0.0,
    **options: Any,
) -> Model:
    """An encoder and a decoder (many-to-many, unaligned): target tokens in, logits of the next out.

    ``context={"source": tokens [batch, steps], "source_lengths": [batch]}``; see
    `seqjax.nn.EncoderDecoder`.

    Args:
        architecture: see `seqjax.models.layers`.
        source_vocab_size: source tokens are 0, ..., source_vocab_size - 1.
        target_vocab_size: likewise.
        features: width of each layer, of decoder and encoder (there of both directions
            together).
        embedding: features of a token's vector, on both sides.
        attention: its score (`seqjax.nn.Attention`); None for none: the decoder then knows of
            the source what its first carry holds.
        bidirectional: the encoder reads in both directions.
        dropout: rate of the dropout between layers.
        **options: see `seqjax.models.layers`.

    Returns:
        The model; `seqjax.models.beam_search` translates with it.

    Raises:
        ValueError: see `seqjax.models.layers`; for two directions of what has only one, or of
            an odd width together.

    Example:
        >>> import jax.numpy as jnp
        >>> model = seq2seq("gru", source_vocab_size=30, target_vocab_size=20, features=(8,))
        >>> params, words = model.init(jax.random.key(0)), jnp.array([[1, 4, 7]])
        >>> context = {"source": jnp.array([[3, 1, 4, 1, 5]])}
        >>> model.apply(params, words, context=context).shape
        (1, 3, 20)

    Source: Luong et al., "Effective approaches to attention-based neural machine translation",
    arXiv 1508.04025, without input feeding: so all steps of the target are one scan.
    """
    how = {"dropout": dropout, **options}
    widths = widths_of(features)
    decoding = encoding = layers(architecture, widths, **how)
    if bidirectional:
        if any(width % 2 for width in widths):
            raise ValueError(f"seq2seq: two directions have even widths, not {features}.")
        halves = layers(architecture, [width // 2 for width in widths], **how)
        encoding = both_directions("seq2seq", architecture, halves)
    looking = () if attention is None else (nn.Attention(widths[-1], attention),)
    decoder = (
        nn.Embed(target_vocab_size, embedding),
        *decoding,
        *looking,
        nn.Dense(target_vocab_size),
    )
    layer = nn.EncoderDecoder(
        nn.Stack((nn.Embed(source_vocab_size, embedding), *encoding), dropout),
        nn.Stack(decoder, dropout),
    )
    return from_layer(layer, nn.Tokens(target_vocab_size))


def attention_weights(
    model: Model, params: Params, x: Array, *, context: Mapping[str, Array], **call: Any
) -> Array:
    """What a model's attention looks at, for a picture.

    Args:
        model: one that has a `seqjax.nn.Attention`.
        params: its parameters.
        x: as for ``model.apply``.
        context: likewise.
        **call: likewise, such as seq_lengths.

    Returns:
        The weights [batch, time, source], 0 for padding, each step's sum 1; of several
        attentions the first's.

    Raises:
        ValueError: for a model without attention.

    Example:
        >>> import jax.numpy as jnp
        >>> model = seq2seq("gru", source_vocab_size=30, target_vocab_size=20, features=(8,))
        >>> params, words = model.init(jax.random.key(0)), jnp.array([[1, 4, 7]])
        >>> context = {"source": jnp.array([[3, 1, 4, 1, 5]])}
        >>> attention_weights(model, params, words, context=context).shape
        (1, 3, 5)
    """
    if model.layer is None:
        raise ValueError("attention_weights: the model does not say its layers.")
    sown = model.layer.apply(
        {"params": params}, x, context=context, mutable="intermediates", **call
    )[1]
    weights = [
        leaf
        for path, leaf in jax.tree.leaves_with_path(sown)
        if "weights" in jax.tree_util.keystr(path)
    ]
    if not weights:
        raise ValueError("attention_weights: the model has no attention.")
    return weights[0]
