import json

import numpy as np
import pytest

from seqjax.data import DataError, Scaler, min_max_scaler, scale, standard_scaler, unscale

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
def test_each_feature_has_a_scale_of_its_own_that_comes_back_from_json(scaler_of):
    series = np.random.default_rng(0).normal(size=(9, 7, 3)).astype(np.float32) * [1, 1e4, 0]
    for axis, values in (((0, 1), series), (0, series[0])):
        scaler = scaler_of(values, axis=axis)
        alone = [scaler_of(values[..., k]) for k in range(3)]
        np.testing.assert_allclose(scaler.shift, [one.shift for one in alone], rtol=1e-6)
        np.testing.assert_allclose(scaler.width, [one.width for one in alone], rtol=1e-6)
        again = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
        for one in (np.float32(values), values):  # in the precision that comes in
            scaled = scale(again, one)
            assert scaled.dtype == one.dtype
            np.testing.assert_array_equal(scaled, scale(scaler, one))
            np.testing.assert_allclose(unscale(again, scaled), one, rtol=1e-4, atol=1e-4)
    rows = scaler_of(series[0, :, :2], axis=1)  # a scale of each row
    np.testing.assert_allclose(
        scale(rows, series[0, :, :2])[2], scale(scaler_of(series[0, 2, :2]), series[0, 2, :2])
    )


def test_anything_else_is_no_scaler():
    for saved in ({"shift": 0}, {"shift": 0, "width": 0}, {"shift": [0, 1], "width": [1]}, {}):
        with pytest.raises(DataError, match="a scaler is JSON with shift and width"):
            Scaler.from_json(saved)


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
