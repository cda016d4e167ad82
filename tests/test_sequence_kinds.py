"""Words of scanners and readers, and the sequence that they mean."""

import pytest

from wcr_med.sequence_kinds import CONTRAST, kind_of, kind_of_series


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("AX T1", "T1"), ("t1_se_tra", "T1"), ("T1W_SE", "T1"), ("eT1W_3D_TFE", "T1"), ("SAG MPRAGE", "T1"),
        ("AXT1", "T1"), ("pre-contrast", "T1"), ("T1 pre", "T1"), ("T1 without contrast", "T1"), ("Ax T1 FLAIR", "T1"),
        ("non-contrast T1", "T1"), ("T1 nativ", "T1"), ("sub-01_T1w", "T1"),
        ("AX T1 POST", CONTRAST), ("t1_tra+c", CONTRAST), ("T1 +C", CONTRAST), ("T1ce", CONTRAST), ("t1c", CONTRAST),
        ("T1GD", CONTRAST), ("T1 Gd", CONTRAST), ("post-contrast", CONTRAST), ("T1 mit KM", CONTRAST),
        ("MPRAGE post gad", CONTRAST), ("sub-01_ce-gadolinium_T1w", CONTRAST), ("T1 CE", CONTRAST),
        ("FLAIR", "FLAIR"), ("AX T2 FLAIR", "FLAIR"), ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("FLAIR post Gd", "FLAIR"),
        ("T2W_TSE", "T2"), ("AX T2", "T2"), ("T2* GRE", "T2*"), ("SWI", "T2*"),
        ("ADC map", "ADC"), ("ep2d_diff", "DWI"),
        ("3-plane localizer", "other"), ("T1 subtraction", "other"), ("lesion_mask", "other"),
        ("PD", "PD"),
        ("T1 pre-op +C", CONTRAST),
        ("T1 postop", "T1"), ("T1 post-op", "T1"), ("T1 pre/post", "T1"), ("T1 map", "other"),
        ("T2 mapping", "other"), ("DCE T1", "other"), ("T1 no contrast", "T1"), ("T1 w/o contrast", "T1"),
        ("T1 post RT +C", CONTRAST), ("precontrast T1", "T1"),
        ("scan", None), ("", None), ("ct1", None), ("channel 2", None), ("image", None),
    ],
)  # fmt: skip
def test_words(text: str, kind: str | None) -> None:
    assert kind_of(text) == kind


def series(description: str = "", protocol: str = "", agent: str = "", **times: float) -> str | None:
    return kind_of_series(description, protocol, agent, **{"tr_ms": 0, "te_ms": 0, "ti_ms": 0, **times})


def test_contrast_by_words_before_agent() -> None:
    assert series("AX T1") == "T1"
    assert series("AX T1", agent="Gadovist") == CONTRAST
    assert series("AX T1 pre", agent="Gadovist") == "T1"
    assert series("AX T1 post") == CONTRAST
    assert series("AX T1", agent="None") == "T1"
    assert series("AX FLAIR", agent="Gadovist") == "FLAIR"
    assert series("AX T1", protocol="Brain post Gd") == CONTRAST


def test_the_protocol_and_the_times_where_words_are_missing() -> None:
    assert series(protocol="T2 FLAIR") == "FLAIR"
    assert series("series 7", tr_ms=9000, te_ms=120, ti_ms=2500) == "FLAIR"
    assert series(tr_ms=4000, te_ms=100) == "T2"
    assert series(tr_ms=500, te_ms=10) == "T1"
    assert series(tr_ms=500, te_ms=10, agent="Gd") == CONTRAST
    assert series(tr_ms=2000, te_ms=3, ti_ms=900) is None
    assert series() is None
