import numpy as np
import pytest

from seqjax.data import DataError, chronological_split, windows


def test_windows_with_horizon_and_stride():
    inputs, targets = windows(np.arange(10), input_length=3, horizon=2, stride=2)
    assert inputs.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert targets.tolist() == [[3, 4], [5, 6], [7, 8]]


def test_windows_of_several_features():
    values = np.arange(12).reshape(6, 2)
    inputs, targets = windows(values, input_length=2)
    assert inputs.shape == (4, 2, 2)
    np.testing.assert_array_equal(inputs[1], values[1:3])
    np.testing.assert_array_equal(targets[1], values[3:4])


def test_windows_are_views():
    values = np.arange(1000.0)
    inputs, targets = windows(values, input_length=100, horizon=10)
    assert np.shares_memory(inputs, values)
    assert np.shares_memory(targets, values)


def test_just_long_enough_and_one_short():
    assert windows(np.arange(5), 4).inputs.shape == (1, 4)
    with pytest.raises(DataError, match="has 4 steps, but a window of 4 and a horizon of 1 need 5"):
        windows(np.arange(4), 4)
    with pytest.raises(ValueError, match="stride must be at least 1"):
        windows(np.arange(9), 4, stride=0)


def test_the_textbook_split():
    """As scikit-learn and Keras split the notebook's 156 windows."""
    split = chronological_split(156, validation=0.1, test=0.2)
    assert [(s.start, s.stop) for s in split] == [(0, 111), (111, 124), (124, 156)]


@pytest.mark.parametrize("n", [1, 5, 17, 156])
@pytest.mark.parametrize(
    ("validation", "test"), [(0.0, 0.0), (0.1, 0.2), (0.5, 0.5), (0, 1), (2, 3)]
)
def test_parts_are_neighbours_that_cover_everything_or_are_refused(n, validation, test):
    try:
        train, middle, end = chronological_split(n, validation=validation, test=test)
    except DataError:
        assert n <= 5
        return
    assert (train.start, train.stop, middle.stop, end.stop) == (0, middle.start, end.start, n)
    assert train.stop > 0


def test_bad_shares_are_refused():
    with pytest.raises(ValueError, match="test must be a share"):
        chronological_split(10, test=1.0)
    with pytest.raises(ValueError, match="validation must be a share"):
        chronological_split(10, validation=-1)
