from dataclasses import replace

from wcr_med.export.partition.fusion import fuse
from wcr_med.export.program import NONE, Activate, Activation, Add, Convolution, MaxPool, Op, Program, Upsample

CONV = Convolution(sources=(0,), weight=1, c_in=2, c_out=2, kernel=(1, 1))
RELU = Activation.RELU


def fused(*ops: Op, outputs: tuple[tuple[int, ...], ...] | None = None) -> Program:
    return fuse(Program(n_inputs=1, ops=ops, outputs=outputs or ((len(ops),),)))


def test_activation_after_addition_after_convolution_is_one_operation() -> None:
    result = fused(CONV, Add(first=1, second=0), Activate(source=2, activation=RELU))
    assert result == Program(n_inputs=1, ops=(replace(CONV, residual=0, activation=RELU),), outputs=((1,),))


def test_a_slope_moves_along() -> None:
    result = fused(CONV, Activate(source=1, activation=Activation.SLOPE, slope=7))
    assert result.ops == (replace(CONV, activation=Activation.SLOPE, slope=7),)


def test_an_activation_joins_an_addition() -> None:
    result = fused(Add(first=0, second=0), Activate(source=1, activation=RELU))
    assert result.ops == (Add(first=0, second=0, activation=RELU),)


def test_what_is_read_twice_stays() -> None:
    ops = (CONV, Activate(source=1, activation=RELU))
    assert fused(*ops, outputs=((1,), (2,))).ops == ops
    assert fused(*ops, outputs=((1, 2),)).ops == ops


def test_a_second_activation_and_a_second_residual_stay() -> None:
    result = fused(CONV, *(Activate(source=value, activation=RELU) for value in (1, 2)))
    assert result.ops == (replace(CONV, activation=RELU), Activate(source=1, activation=RELU))
    result = fused(CONV, Add(first=1, second=0), Add(first=2, second=0))
    assert result.ops == (replace(CONV, residual=0), Add(first=1, second=0))


def test_a_convolution_moves_behind_what_it_is_added_to() -> None:
    behind = replace(CONV, sources=(2,))
    pool = MaxPool(source=0, kernel=(1, 1), strides=(1, 1))
    result = fused(CONV, pool, behind, Activate(source=3, activation=RELU), Add(first=1, second=4))
    assert result.ops == (
        pool,
        replace(CONV, sources=(1,), activation=RELU),
        replace(CONV, residual=2),
    )
    assert result.outputs == ((3,),)


def test_numbers_follow() -> None:
    up = Upsample(source=2, factors=(2, 2))
    result = fused(CONV, Activate(source=1, activation=RELU), up, outputs=((3, 2), (0,)))
    assert result.ops[1] == replace(up, source=1)
    assert result.outputs == ((2, 1), (0,))
    assert all(op.residual == NONE for op in result.convolutions.values())
