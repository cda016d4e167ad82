"""Numbers in words."""

import math

import pytest

from wcr_med.report.clinical import formats


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (0.8125, {}, "0.812"),
        (0.8125, {"signed": True}, "+0.812"),
        (-0.0304, {"signed": True}, "\u22120.030"),
        (-0.0004, {"signed": True}, "0.000"),
        (-0.0004, {}, "0.000"),
        (1234.5, {"digits": 0}, "1,234"),
        (math.nan, {}, "not defined"),
        (None, {}, "not defined"),
        (-math.inf, {}, "\u2212infinite"),
    ],
)
def test_number(value, options, text):
    assert formats.number(value, **options) == text


def test_span_needs_both_ends():
    assert formats.span(-0.01, 0.02, signed=True) == "\u22120.010 to +0.020"
    assert formats.span(None, 0.02) == formats.span(0.1, math.nan) == "no interval"


@pytest.mark.parametrize(
    ("share", "text"), [(0.9, "90"), (0.985, "98.5"), (0, "0"), (1, "100"), (-0.0001, "0"), (0.1, "10")]
)
def test_percent_has_no_needless_zeros(share, text):
    assert formats.percent(share) == f"{text}\u00a0%"


def test_percent_of_nothing():
    assert formats.percent(math.nan) == formats.percent(None) == "not defined"


def test_p_value():
    assert formats.p_value(0.00002) == "p < 0.001"
    assert formats.p_value(0.0312) == "p = 0.031"
    assert formats.p_value(math.nan) == "p not defined"


def test_sizes_and_times():
    assert formats.size(31_061_234) == "31.06\u00a0MB"
    assert formats.size(812) == "812\u00a0bytes"
    assert formats.size(None) == formats.milliseconds(None) == "not measured"
    assert formats.milliseconds(8.419) == "8.42\u00a0ms"
    assert formats.scientific(3.14e-5) == "3.1e\u221205"
    assert formats.scientific(0.0) == "0"


def test_words():
    assert formats.counted(1, "patient") == "1\u00a0patient"
    assert formats.counted(0, "patient") == "0\u00a0patients"
    assert formats.listed([]) == "none"
    assert formats.listed(["a", "b", "c"]) == "a, b and c"


def test_css_string_cannot_end_itself():
    text = formats.css_string('a"; } </style><script>')
    assert text.startswith('"')
    assert not set(text[1:-1]) & set('"<>;{}/')
