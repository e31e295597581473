"""What is held against the loop is every cell that Newton's method runs."""

import jax

from seqjax import ops
from seqjax.bench import agreement
from tests.ops.cells import CASES


def test_every_cell_is_held_against_the_loop():
    forms = {case.cell.name: case.cell.form for case in CASES.values()}
    iterated = {name for name, form in forms.items() if isinstance(form, ops.Elementwise)}
    assert {title.split()[0] for title in agreement.cells()} == iterated
    with jax.enable_x64(True):
        one = agreement.untrained("", ops.GRUCell())
        found = agreement.differences(one, 12, ["float32"])["float32"]
    assert not found.by_loop
    # Rounding of float32, and not less: float64 is what it is measured by.
    assert 1e-8 < found.values < 1e-5
    assert 1e-8 < found.gradients < 1e-4
