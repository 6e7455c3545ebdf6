#pragma once

/// Sine and cosine of one angle [rad]: the bits of `sin` and `cos`, which bring the angle to a quarter
/// turn once each.
void mk_sine_and_cosine(double angle, double *sine, double *cosine);
