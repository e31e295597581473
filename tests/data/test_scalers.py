import numpy as np
import pytest

from seqjax.data import min_max_scaler, scale, standard_scaler, unscale

VALUES = np.array([[3.0, 9.0], [5.0, 4.0]])


def test_min_max_fills_the_unit_interval():
    scaled = scale(min_max_scaler(VALUES), VALUES)
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)


def test_standard_has_mean_0_and_sd_1():
    scaled = scale(standard_scaler(VALUES), VALUES)
    np.testing.assert_allclose((scaled.mean(), scaled.std()), (0, 1), atol=1e-12)


@pytest.mark.parametrize("scaler_of", [min_max_scaler, standard_scaler])
def test_there_and_back(scaler_of):
    scaler = scaler_of(VALUES)
    new = np.array([-7.0, 100.0])
    np.testing.assert_allclose(unscale(scaler, scale(scaler, new)), new)


@pytest.mark.parametrize("scaler_of", [min_max_scaler, standard_scaler])
def test_a_constant_is_scaled_to_zero(scaler_of):
    constant = np.full(7, 0.1)
    assert scaler_of(constant).width == 1.0
    np.testing.assert_allclose(scale(scaler_of(constant), constant), 0, atol=1e-12)


@pytest.mark.parametrize("scaler_of", [min_max_scaler, standard_scaler])
def test_nothing_and_nonsense_are_refused(scaler_of):
    with pytest.raises(ValueError, match="no values"):
        scaler_of(np.array([]))
    with pytest.raises(ValueError, match="not finite"):
        scaler_of(np.array([1.0, np.nan]))
