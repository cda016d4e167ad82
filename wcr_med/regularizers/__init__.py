"""Regularizers: terms of the loss and decoupled steps, each by name, and the door through which others come in."""

from wcr_med.regularizers.base import LossTerm, Moment, Regularizer, WeightStep
from wcr_med.regularizers.registry import (
    build_regularizer,
    register_regularizer,
    regularizer_class,
    regularizer_names,
    resolved,
    strength_and_schedule,
)
from wcr_med.regularizers.schedule import Schedule
from wcr_med.regularizers.steps import GradualMagnitude, WCRQuantile, WCRTangential
from wcr_med.regularizers.terms import EPSILON, L1, SMOOTHING, WCR, Hoyer, HoyerSquare

__all__ = [
    "EPSILON",
    "L1",
    "SMOOTHING",
    "WCR",
    "GradualMagnitude",
    "Hoyer",
    "HoyerSquare",
    "LossTerm",
    "Moment",
    "Regularizer",
    "Schedule",
    "WCRQuantile",
    "WCRTangential",
    "WeightStep",
    "build_regularizer",
    "register_regularizer",
    "regularizer_class",
    "regularizer_names",
    "resolved",
    "strength_and_schedule",
]
