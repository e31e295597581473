import dataclasses
import json
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from experiments import milk, synthetic_forecast
from seqjax import config, launch


@dataclasses.dataclass(frozen=True)
class Config(launch.Config):
    width: int = 3
    rate: float | None = None
    kind: Literal["lstm", "gru", 2] = "lstm"
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[str, float] = ("a", 1.0)
    csv: Path | None = None
    deep: bool = True

    def resolved(self) -> dict[str, Any]:
        if self.width == 13:
            raise launch.RunError("--width must not be 13.")
        return {"settings": {"batch": 32, "cells": (self.kind,)}}


def read(tmp_path, content, config_type=Config):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return config.read_config(config_type, path)


@pytest.mark.parametrize(
    "ours",
    [
        Config(),
        Config(
            seed=-4, rate=0.5, kind=2, sizes=(), pair=("\u00fc", 2.0), csv=Path("a b"), deep=False
        ),
        milk.Config(recipe="textbook", epochs=3, csv=Path("x.csv"), per_day=False),
        synthetic_forecast.Config(only="lstm", quick=True),
    ],
)
def test_what_is_written_is_read_back(tmp_path, ours):
    settings = config.settings_of(dataclasses.replace(ours, resume=True, config=Path("from")))
    assert not settings.keys() & {"config", "out", "resume", "platform"}
    assert read(tmp_path, json.dumps(settings), type(ours)) == ours
    assert read(tmp_path, b"\xef\xbb\xbf" + json.dumps(settings).encode(), type(ours)) == ours


def test_what_the_file_leaves_out_has_its_default(tmp_path):
    assert read(tmp_path, "{}") == Config()
    assert read(tmp_path, '{"rate": 1}') == Config(rate=1.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not readable as JSON: Expecting value: line 1"),
        ("{", "not readable as JSON"),
        ('{"seed": 1} x', "not readable as JSON: Extra data"),
        (b"\x80\x04\x95", "line 1 is not UTF-8"),
        (b'{\n"seed": "\xfc"}', "line 2 is not UTF-8"),
        ("[]", "must be a JSON object {...}, not []"),
        ("null", "must be a JSON object {...}, not None"),
        ('"seed"', "must be a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"seed":' * 100_000, "nested too deeply"),
        (b" " * 10_000_000, "more than 1,048,576 bytes"),
        ('{"seed": 1, "seed": 2}', "the key 'seed' stands there twice"),
        ('{"settings": {"a": 1, "a": 1}}', "the key 'a' stands there twice"),
        ('{"rate": 1e999}', "'1e999' is not a finite number"),
        ('{"rate": NaN}', "'NaN' is not a finite number"),
        ('{"rate": -Infinity}', "'-Infinity' is not a finite number"),
        ('{"seed": 1' + "0" * 5000 + "}", "not readable as JSON: Exceeds the limit"),
        ('{"seed": 1' + "0" * 400 + "}", "'seed' is 1000"),
        ('{"sizes": [1, 9223372036854775808]}', "a number must fit into 64 bits"),
        ('{"rate": 9223372036854775808}', "a number must fit into 64 bits"),
        ('{"rate": 1' + "0" * 400 + "}", "'rate' is 1000"),
        ('{"seed": 9223372036854775808}', "'seed' is 9223372036854775808; a number must fit"),
        ('{"seed": "8"}', "'seed' is '8'; it must be a whole number."),
        ('{"seed": 8.0}', "'seed' is 8.0; it must be a whole number."),
        ('{"seed": true}', "'seed' is True; it must be a whole number."),
        ('{"seed": null}', "'seed' is None; it must be a whole number."),
        ('{"seed": [1]}', "'seed' is [1]; it must be a whole number."),
        ('{"seed": ' + "[" * 500 + "]" * 500 + "}", "'seed' is [[[[[[[...]]]]]]]; it must be"),
        ('{"rate": "fast"}', "'rate' is 'fast'; it must be a number or null."),
        ('{"rate": false}', "'rate' is False; it must be a number or null."),
        ('{"kind": "rnn"}', "'kind' is 'rnn'; it must be one of 'lstm', 'gru', 2."),
        ('{"kind": 2.0}', "'kind' is 2.0; it must be one of 'lstm', 'gru', 2."),
        ('{"deep": 1}', "'deep' is 1; it must be true or false."),
        ('{"sizes": [1, "2"]}', "'sizes' is [1, '2']; it must be a list of a whole number."),
        ('{"sizes": 1}', "'sizes' is 1; it must be a list of a whole number."),
        ('{"pair": ["a"]}', "'pair' is ['a']; it must be a list of a text, a number."),
        ('{"csv": 3}', "'csv' is 3; it must be a path or null."),
        ('{"csv": "a\\u0000b"}', "'csv' is 'a\\x00b'; a text must hold no NUL"),
        ('{"pair": ["a\\u0000b", 1]}', "a text must hold no NUL"),
        ('{"csv": "\\ud800"}', "'csv' is '\\ud800'; a text must hold no NUL and no half of a"),
        ('{"width": 13}', "--width must not be 13."),
        ('{"seeed": 3}', "there is no setting 'seeed'; there are seed, seeds, width"),
        ('{"seeed": 3}', "Did you mean 'seed'?"),
        ('{"__class__": 3}', "there is no setting '__class__'"),
        ('{"may_differ": []}', "there is no setting 'may_differ'"),
        ('{"x\\n' + "x" * 999 + '": 3}', "there is no setting 'x\\nxxx"),
        ('{"out": "/"}', "'out' is no setting; say --out on the command line."),
        ('{"config": "config.json"}', "'config' is no setting"),
        ('{"settings": 3}', "settings is 3, but its other options give {"),
        (
            '{"settings": {"batch": 16, "cells": ["lstm"]}}',
            "settings.batch is 16, but its other options give 32. Change those, or take 'settings'",
        ),
        (
            '{"kind": "gru", "settings": {"batch": 32, "cells": ["lstm"]}}',
            "settings.cells is ['lstm'], but its other options give ['gru']",
        ),
    ],
)  # fmt: skip
def test_anything_else_is_one_line_that_names_file_and_field(tmp_path, content, message):
    with pytest.raises(launch.RunError) as error:
        read(tmp_path, content)
    assert str(error.value).startswith(f"{tmp_path / 'config.json'}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_files_that_are_none(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(launch.RunError, match="no such file"):
            config.read_config(Config, path)


def test_damaged_files_are_read_or_refused(tmp_path):
    """Random bytes flipped, cut and spliced: a Config or a RunError, nothing else."""
    whole = json.dumps(config.settings_of(milk.Config(epochs=3)), indent=2).encode()
    read_ones, messages = 0, []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            other = whole[int(rng.integers(len(whole)))] if seed % 2 else int(rng.integers(256))
            data[int(rng.integers(len(data)))] = other
        if seed % 5 == 0:
            data = data[: int(rng.integers(len(data)))]
        try:
            found = read(tmp_path, bytes(data), milk.Config)
        except launch.RunError as error:
            messages.append(str(error))
        else:
            read_ones += 1
            assert all(
                type(getattr(found, name)) is int for name in ("seed", "seeds", "save_every")
            )
    assert all(re.search(r"config\.json: \S", one) and "\n" not in one for one in messages)
    assert 0 < read_ones < len(messages)
