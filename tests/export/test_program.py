import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.export.program import (
    NONE,
    Activate,
    Activation,
    Add,
    Convolution,
    Form,
    Kind,
    MaxPool,
    Op,
    Program,
    Upsample,
    decode_program,
    encode_program,
)

SMALL = st.integers(0, 9)
PAIR = st.tuples(st.integers(1, 5), st.integers(1, 5))
PADS = st.tuples(SMALL, SMALL, SMALL, SMALL)

CONV = Convolution(sources=(0,), weight=1, c_in=2, c_out=3, kernel=(3, 3))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    n_inputs = draw(st.integers(1, 3))
    ops: list[Op] = []
    for number in range(draw(st.integers(0, 6))):
        value = st.integers(0, n_inputs + number - 1)
        activation = draw(st.sampled_from(Activation))
        slope = draw(SMALL) if activation == Activation.SLOPE else NONE
        ops.append(
            draw(
                st.one_of(
                    st.builds(
                        Convolution,
                        sources=st.lists(value, min_size=1, max_size=3).map(tuple),
                        weight=SMALL,
                        c_in=st.integers(1, 99),
                        c_out=st.integers(1, 99),
                        kernel=PAIR,
                        transposed=st.booleans(),
                        form=st.sampled_from(Form),
                        kind=st.sampled_from(Kind),
                        bias=st.integers(NONE, 9),
                        activation=st.just(activation),
                        slope=st.just(slope),
                        residual=st.just(NONE) | value,
                        strides=PAIR,
                        dilations=PAIR,
                        pads=PADS,
                        output_padding=st.tuples(SMALL, SMALL),
                    ),
                    st.builds(MaxPool, source=value, kernel=PAIR, strides=PAIR, pads=PADS),
                    st.builds(Upsample, source=value, factors=PAIR),
                    st.builds(Add, first=value, second=value, activation=st.just(activation), slope=st.just(slope)),
                    st.builds(Activate, source=value, activation=st.just(activation), slope=st.just(slope)),
                )
            )
        )
    value = st.integers(0, n_inputs + len(ops) - 1)
    outputs = draw(st.lists(st.lists(value, min_size=1, max_size=3).map(tuple), max_size=3))
    return Program(n_inputs=n_inputs, ops=tuple(ops), outputs=tuple(outputs))


@given(program=programs())
@settings(max_examples=100, deadline=None)
def test_decoding_gives_the_program_back(program: Program) -> None:
    assert decode_program(encode_program(program), program.n_inputs) == program


@given(program=programs(), cut=st.integers(0, 200))
@settings(max_examples=50, deadline=None)
def test_a_program_cut_short_is_refused(program: Program, cut: int) -> None:
    numbers = encode_program(program)
    with pytest.raises(ValueError, match=r"ends early|before it|not fit|fields"):
        decode_program(numbers[: cut % len(numbers)], program.n_inputs)


def test_the_numbers_are_those_that_the_operator_reads() -> None:
    conv = Convolution(
        sources=(0, 1),
        weight=2,
        c_in=4,
        c_out=5,
        kernel=(3, 2),
        form=Form.GAP8,
        kind=Kind.SPARSE,
        bias=4,
        activation=Activation.SLOPE,
        slope=5,
        residual=0,
        strides=(1, 2),
        dilations=(3, 4),
        pads=(5, 6, 7, 8),
    )
    ops = (
        conv,
        MaxPool(source=2, kernel=(2, 3), strides=(4, 5), pads=(0, 1, 0, 1)),
        Upsample(source=3, factors=(2, 3)),
        Add(first=3, second=2),
        Activate(source=5, activation=Activation.RELU),
    )
    program = Program(n_inputs=2, ops=ops, outputs=((6,), (2, 4)))
    assert encode_program(program) == [
        *[1, 5],
        *[1, 24, 1, 1, 2, 4, 2, 5, 0, 4, 5, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 2, 0, 1],
        *[3, 9, 2, 2, 3, 4, 5, 0, 1, 0, 1],
        *[4, 3, 3, 2, 3],
        *[5, 4, 3, 2, 0, NONE],
        *[6, 3, 5, 1, NONE],
        *[2, 1, 6, 2, 2, 4],
    ]


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ([2, 0, 0], "version 2"),
        ([1, 1, 9, 0, 0], "opcode 9"),
        ([1, 1, 4, 2, 0, 1, 0], "has 2 fields"),
        ([1, 1, 1, 3, 0, 0, 0, 0], "number of sources"),
        ([1, 0, 0, 7], "after the end"),
        ([1, 0, 1, 1, 1], "output 0 reads"),
        ([1, 1, 6, 3, 0, 7, -1, 0], "7 is not a valid Activation"),
    ],
)
def test_what_is_no_program_is_refused(numbers: list[int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        decode_program(numbers, 1)


def test_an_operation_cannot_read_what_comes_later() -> None:
    with pytest.raises(ValueError, match="operation 0 reads"):
        Program(n_inputs=1, ops=(Upsample(source=1, factors=(2, 2)),), outputs=())


def test_a_slope_goes_with_its_activation() -> None:
    with pytest.raises(ValueError, match="slope"):
        Program(n_inputs=1, ops=(Activate(source=0, activation=Activation.RELU, slope=3),), outputs=())
    with pytest.raises(ValueError, match="slope"):
        Program(n_inputs=1, ops=(Activate(source=0, activation=Activation.SLOPE),), outputs=())


@pytest.mark.parametrize(
    ("conv", "winograd"),
    [
        (CONV, True),
        (Convolution(sources=(0,), weight=1, c_in=2, c_out=3, kernel=(3, 3), strides=(2, 2)), False),
        (Convolution(sources=(0,), weight=1, c_in=2, c_out=3, kernel=(3, 3), dilations=(1, 2)), False),
        (Convolution(sources=(0,), weight=1, c_in=2, c_out=3, kernel=(3, 3), transposed=True), False),
        (Convolution(sources=(0,), weight=1, c_in=2, c_out=3, kernel=(1, 3)), False),
    ],
)
def test_winograd_is_for_plain_3x3_kernels(conv: Convolution, winograd: bool) -> None:
    assert (Kind.WINOGRAD2 in conv.kinds) == (Kind.WINOGRAD4 in conv.kinds) == winograd
    assert {Kind.SPARSE, Kind.DENSE} <= {*conv.kinds}


def test_kinds_change_nothing_else() -> None:
    program = Program(n_inputs=1, ops=(Upsample(source=0, factors=(2, 2)), CONV), outputs=((2,),))
    changed = program.with_kinds({1: Kind.DENSE})
    assert changed.convolutions[1].kind == Kind.DENSE
    assert changed.with_kinds({1: Kind.AUTO}) == program
