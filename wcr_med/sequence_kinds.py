"""Which kind of MR sequence a name or a scanner's words mean. Standard library only.

Words are those that scanners and readers use: T1, MPRAGE, T1+C, Gd, post, FLAIR, dark fluid, T2. A name that says
nothing of the kind has none, and nothing is guessed.
"""

import re

CONTRAST = "T1 with contrast"
"""The kind of a T1-weighted sequence after contrast agent."""

_WORDS = (  # the first that matches decides
    ("other", r"locali[sz]|(?<![a-z])loc(?![a-z])|scout|survey|subtract|(?<![a-z])sub(?![a-z]|-|_?[0-9])|"
              r"(?<![a-z])mip(?![a-z])|t[12]\*?.{0,3}map|(?<![a-z])(dce|dsc|r?cb[vf]|mtt|ktrans)(?![a-z])|dynamic|"
              r"field.?map|calib|perf|angio|(?<![a-z])(mra|tof|mrv)(?![a-z])|screen|segment|lesion|mask"),
    ("ADC", r"(?<![a-z])e?adc(?![a-z])"),
    ("DWI", r"dwi|diffusion|ep2d.?diff|(?<![a-z])trace(?![a-z])|(?<![a-z])dti(?![a-z])"),
    ("T2*", r"t2.?star|t2\*|(?<![a-z])swi(?![a-z])|(?<![a-z])hemo(?![a-z])"),
    ("T1", r"t1w?(?![0-9]).{0,3}flair"),  # a T1-weighted sequence with that preparation
    ("FLAIR", r"flair|dark.?fluid|(?<![a-z])da.?fl(?![a-z])"),
    ("T1", r"(?<![a-z0-9])(ax|sag|cor|tra|e|3d|2d)?t1(?![0-9])|mp2?rage|bravo|spgr|(?<![a-z])vibe(?![a-z])"),
    ("T2", r"(?<![a-z0-9])(ax|sag|cor|tra|e|3d|2d)?t2(?![0-9])"),
    ("PD", r"(?<![a-z])pdw?(?![a-z])|proton.?density"),
    ("PET", r"(?<![a-z])pet(?![a-z])"),
    ("CT", r"(?<![a-z])ct(?![a-z0-9])"),
)  # fmt: skip
_OPERATION = r"[-_ ]?(op|surg|rad|rt|treat|chemo|therap)"  # before or after that, not contrast agent
_BEFORE = re.compile(
    rf"((?<![a-z])pre(?![a-z]|{_OPERATION})|(?<![a-z])pre(?=contrast|gad)|(?<![a-z])non(?![a-z])|without|(?<![a-z])w/?o(?![a-z])|ohne|"
    r"(?<![a-z])no(?![a-z])|nativ|unenh)[-_ ]*(contrast[a-z]*|kontrast[a-z]*|gad[a-z]*|gd|km|ce|enh[a-z]*)?"
)
_AFTER = re.compile(
    rf"post(?!{_OPERATION})|(?<![a-z])gad|(?<![a-z])gd(?![a-z])|t1.?w?.?(gd|ce?|km)(?![a-z])|\+ ?c(?![a-z])|"
    r"(?<![a-z])c\+|(?<![a-z])(ce|km|kontrast|contrast|contraste|enh|enhanced)(?![a-z])"
)
_NO_AGENT = {"", "no", "none", "n", "nein", "0", "na", "n/a", "without", "no contrast"}


def kind_of(text: str) -> str | None:
    """The kind of sequence that a name or description means; `None` where it does not say.

    "pre-contrast" and "post-contrast" alone are those of T1, as in the kaggle_3m layout.
    """
    words = text.casefold()
    base = next((kind for kind, pattern in _WORDS if re.search(pattern, words)), None)
    said = contrast_said(text)
    if base is None and said is not None and re.search(r"contrast", words):
        base = "T1"
    return CONTRAST if base == "T1" and said else base


def contrast_said(text: str) -> bool | None:
    """Whether the words say that the image was taken after contrast agent, or before; `None`: neither or both."""
    words = text.casefold()
    before, after = _BEFORE.search(words) is not None, _AFTER.search(_BEFORE.sub(" ", words)) is not None
    return None if before == after else after


def kind_of_series(
    description: str, protocol: str, agent: str, *, tr_ms: float, te_ms: float, ti_ms: float
) -> str | None:
    """The kind of a series by its description, else its protocol, else its times; contrast by words, else by agent.

    Args:
        description: of the series; "" where there is none. The others likewise.
        protocol: name of the protocol.
        agent: contrast agent.
        tr_ms: repetition time; 0 where it is not known. The other times likewise.
        te_ms: echo time.
        ti_ms: inversion time.
    """
    kind = kind_of(description) or kind_of(protocol) or _kind_of_times(tr_ms, te_ms, ti_ms)
    if kind != "T1":
        return kind
    said = contrast_said(description)
    if said is None:
        said = contrast_said(protocol)
    if said is None:
        said = agent.strip().casefold() not in _NO_AGENT
    return CONTRAST if said else kind


def _kind_of_times(tr_ms: float, te_ms: float, ti_ms: float) -> str | None:
    """Only where the times leave no doubt: FLAIR has a long inversion and echo time, T2 a long echo time alone."""
    if ti_ms >= 1500 and te_ms >= 70 and tr_ms >= 4000:
        return "FLAIR"
    if ti_ms == 0 and te_ms >= 70 and tr_ms >= 2000:
        return "T2"
    if ti_ms == 0 and 0 < te_ms <= 30 and 0 < tr_ms <= 900:
        return "T1"
    return None
