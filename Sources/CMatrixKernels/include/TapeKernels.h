#pragma once

// Second derivatives of a recorded computation.
//
//   symbol   meaning                                                                          shape
//   y        inputs                                                                               d
//   v_k      node k: inputs first, then every operation in the order in which it was done         1
//   a, b     the nodes that v_k is a function of                                                  1
//   g_k      ∂v_k/∂y                                                                              d
//   w_k      ∂φ/∂v_k, where φ is the quantity of interest                                         1
//   s_k      ∂w_k/∂y                                                                              d
//
// One sweep forwards computes every g, by the chain rule. One sweep backwards computes every w by the
// chain rule the other way, w_a += w_k ∂v_k/∂a, and every s, by the product rule:
//
//   s_a += s_k ∂v_k/∂a + w_k (∂²v_k/∂a² g_a + ∂²v_k/∂a∂b g_b)
//
// and likewise for b. Those of the inputs are the rows of ∂²φ/∂y² (forward over reverse: Griewank and
// Walther 2008, "Evaluating derivatives", chapter 5).

#include <stdint.h>

/// What `partials` holds of each node, in this order; of an input, nothing.
enum { MK_TAPE_BY_A, MK_TAPE_BY_B, MK_TAPE_BY_AA, MK_TAPE_BY_AB, MK_TAPE_BY_BB, MK_TAPE_PARTIALS };

/// The distance between nodes in `gradients` and `second`, in doubles.
static inline int64_t mk_tape_distance(int64_t inputs) { return (inputs + 7) / 8 * 8; }

/// Writes g and s.
///
/// - arguments: two per node, (a, b); (~a, b) for an operation that is linear; (a, −1) for a function of
///   one node.
/// - partials: MK_TAPE_PARTIALS per node.
/// - adjoints: w without what flows in through other nodes, overwritten.
/// - reached: whether φ depends on the node directly; overwritten by whether it does at all.
/// - gradients, second: g and s, count × mk_tape_distance(inputs), written; s of the inputs is ∂²φ/∂y².
void mk_tape_hessian(int32_t variant, int64_t inputs, int64_t count, const int32_t *arguments,
                     const double *partials, double *adjoints, uint8_t *reached, double *gradients,
                     double *second);
