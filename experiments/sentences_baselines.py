"""What a network of sentences has to beat: scikit-learn on n-grams of words and characters."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.sentences_data import Parts
from seqjax import launch

STRENGTHS = {  # the smoothing alpha, the inverse regularisation C; chosen on validation
    "naive Bayes": (0.03, 0.1, 0.3, 1.0),
    "logistic regression": (1.0, 10.0, 100.0),
}
NGRAMS: dict[str, dict[str, Any]] = {
    "word 1-2-grams": {"ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"},
    "character 2-5-grams": {"ngram_range": (2, 5), "analyzer": "char"},
}
MOST = 100_000  # n-grams, the most frequent


def baselines(parts: Parts) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The most frequent class, naive Bayes and logistic regression of tf-idf weights.

    All are fitted to the training part alone, as the networks are.

    Yields:
        A name, and the probabilities [examples, classes] of the other parts.

    Raises:
        RunError: without scikit-learn.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.naive_bayes import MultinomialNB
    except ModuleNotFoundError:
        raise launch.RunError(
            "the baselines of sentences need scikit-learn: pip install -e '.[experiments]'"
        ) from None
    train, asked = parts.train, {"validation": parts.validation, "test": parts.test}
    classes = len(train.names)
    shares = np.bincount(train.labels, minlength=classes) / len(train.labels)
    constant = {split: np.tile(shares, (len(part.labels), 1)) for split, part in asked.items()}
    yield "most frequent class", constant

    def fitted(name: str, strength: float, x: Any) -> Any:
        if name == "naive Bayes":
            return MultinomialNB(alpha=strength).fit(x, train.labels)
        # liblinear, a class at a time: as good here as all classes together, and 10 times faster.
        model = LogisticRegression(C=strength, solver="liblinear")
        return OneVsRestClassifier(model).fit(x, train.labels)

    for grams, how in NGRAMS.items():
        # In float32, which scikit-learn's types do not know.
        single: Any = {"dtype": np.float32}
        weights = TfidfVectorizer(sublinear_tf=True, max_features=MOST, **how, **single)
        x = weights.fit_transform(train.texts)
        others: dict[str, Any] = {
            split: weights.transform(part.texts) for split, part in asked.items()
        }
        for name, strengths in STRENGTHS.items():
            models: list[Any] = [fitted(name, strength, x) for strength in strengths]
            scores = [
                np.mean(m.predict(others["validation"]) == parts.validation.labels) for m in models
            ]
            best = models[int(np.argmax(scores))]
            found = {}
            for split, rows in others.items():
                found[split] = np.zeros((rows.shape[0], classes))
                found[split][:, best.classes_] = best.predict_proba(rows)
            yield f"{name}, {grams}", found
