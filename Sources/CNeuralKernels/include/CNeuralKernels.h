#pragma once

// Single-precision kernels of a network's ops: forward, backward, loss and update.
//
// Swift is compiled for the baseline of the architecture (SSE2 on x86-64), so these few loops are C
// with one variant per instruction set, chosen at run time.
//
//   symbol   meaning                                                                       shape
//   B        samples in the block
//   I, O     inputs and outputs of a layer; I' and O' the same rounded up to a multiple of 16
//   X, Y     a layer's inputs and outputs, one sample per row                     B × I', B × O'
//   W, b     weights, one row per input, and biases; zero in the padding              I × O', O'
//   V        the transpose of W                                                           O × I'
//   dZ       derivative of the loss by Y before the activation                            B × O'
//
// All matrices are row-major here, rows one padded width apart. Every entry of a product is one chain
// of multiply-adds over the summed index in ascending order, whatever the blocking: results do not
// depend on how rows are grouped into calls.

#include <stdint.h>

/// Matrix rows are padded to a multiple of this many floats.
#define NK_PADDING 16

/// Floats of scratch that the products may use.
#define NK_SCRATCH (64 * 512)

/// Instruction sets.
enum nk_variant { NK_PLAIN = 0, NK_AVX2 = 1, NK_AVX512 = 2 };

/// Activation functions.
enum nk_activation { NK_IDENTITY = 0, NK_RELU = 1, NK_TANH = 2, NK_SOFTPLUS = 3, NK_SILU = 4 };

/// What one step of an optimizer needs beside the gradient.
typedef struct {
  float rate;           // η, divided by 1 − β1ᵗ for Adam
  float momentum;       // β1, or SGD's momentum
  float secondMomentum; // β2
  float secondScale;    // 1 / sqrt(1 − β2ᵗ)
  float epsilon;
  float decay;          // η λ of decoupled weight decay
  float gradientScale;  // factor on the gradient (clipping)
  float averageStep;    // weight of the new iterate in the average
} nk_update;

/// Whether this machine can run a variant (an `nk_variant`).
int32_t nk_supports(int32_t variant);

/// The fastest variant this machine can run.
int32_t nk_best_variant(void);

/// Makes this thread flush subnormal numbers to zero, and returns what `nk_restore` needs to undo it.
uint32_t nk_flush_subnormals(void);

/// Undoes `nk_flush_subnormals`.
void nk_restore(uint32_t saved);

/// Tells the processor that this thread is spinning.
void nk_spin(void);

/// Rows `index[0…count)` of `source` (width floats each) to consecutive rows of `target`.
void nk_gather(int32_t variant, int64_t count, int64_t width, const int32_t *index,
               const float *source, float *target);

/// Y = σ(X W + b). `slope` (B × O') receives σ' for softplus and SiLU, or is NULL; `scratch` holds
/// NK_SCRATCH floats, or is NULL.
void nk_dense_forward(int32_t variant, int32_t activation, int64_t samples, int64_t inputs,
                      int64_t outputs_padded, const float *x, int64_t x_stride, const float *w,
                      const float *b, float *y, float *slope, float *scratch);

/// y = σ(x W + b) of one sample, sooner than `nk_dense_forward` by adding terms in another order.
void nk_dense_forward_row(int32_t variant, int32_t activation, int64_t inputs,
                          int64_t outputs_padded, const float *x, const float *w, const float *b,
                          float *y);

/// dZ of the layer below = (dZ V) ∘ σ'(…), with σ, y and slope of the layer below.
void nk_dense_backward_input(int32_t variant, int32_t activation, int64_t samples, int64_t outputs,
                             int64_t outputs_padded, int64_t inputs_padded, const float *dz,
                             const float *v, const float *y, const float *slope, float *dz_below,
                             float *scratch);

/// Rows [first, last) of dW = Xᵀ dZ, added to what is there if `accumulate` is not 0.
void nk_dense_backward_weights(int32_t variant, int64_t samples, int64_t first, int64_t last,
                               int64_t outputs_padded, int32_t accumulate, const float *x,
                               int64_t x_stride, const float *dz, float *dw, float *scratch);

/// db = column sums of dZ, added to what is there if `accumulate` is not 0.
void nk_dense_backward_bias(int32_t variant, int64_t samples, int64_t outputs_padded,
                            int32_t accumulate, const float *dz, float *db);

/// y ← σ(y) in place; `slope` receives σ' for softplus and SiLU, or is NULL. `count` is a multiple of 16.
void nk_activate(int32_t variant, int32_t activation, int64_t count, float *y, float *slope);

/// d ← d ∘ σ'(…), with y and slope as `nk_activate` left them. `count` is a multiple of 16.
void nk_multiply_by_slope(int32_t variant, int32_t activation, int64_t count, const float *y,
                          const float *slope, float *d);

/// target ← target + source; `count` is a multiple of 16.
void nk_add(int32_t variant, int64_t count, const float *source, float *target);

/// Y = g ∘ X̂ + b with X̂ = (X − mean) / √(variance + ε) over the `width` entries of each sample (rows are
/// width' long). `parameters` holds g and b, width' each. `hat` (B × width') receives X̂ and `inverse` (B)
/// 1 / √(variance + ε), or both are NULL.
void nk_layer_norm_forward(int32_t variant, int64_t samples, int64_t width, int64_t width_padded,
                           float epsilon, const float *x, const float *parameters, float *y,
                           float *hat, float *inverse);

/// The loss's derivative by X from that by Y.
void nk_layer_norm_backward(int32_t variant, int64_t samples, int64_t width, int64_t width_padded,
                            const float *dy, const float *parameters, const float *hat,
                            const float *inverse, float *dx);

/// dg = column sums of dY ∘ X̂, added to what is there if `accumulate` is not 0.
void nk_layer_norm_gain(int32_t variant, int64_t samples, int64_t width_padded, int32_t accumulate,
                        const float *dy, const float *hat, float *dg);

/// target = `count` floats plus those 1 … `parts` − 1 strides further on, in that order.
void nk_sum_parts(int32_t variant, int64_t count, int64_t parts, int64_t stride,
                  const float *values, float *target);

/// Columns [first, last) of V = Wᵀ; `first` is a multiple of 4.
void nk_transpose(int64_t first, int64_t last, int64_t outputs, int64_t outputs_padded,
                  int64_t inputs_padded, const float *w, float *v);

/// Per sample s with e = y − target[index[s]] and P = precision[group[index[s]]]:
/// dZ = scale P e, loss = ½ eᵀ P e. Targets are N × O', precisions G × (O × O) without padding and
/// symmetric, with NK_PADDING more floats behind the last.
void nk_loss(int32_t variant, int64_t samples, int64_t outputs, int64_t outputs_padded, float scale,
             const int32_t *index, const int32_t *group, const float *y, const float *target,
             const float *precision, float *dz, float *loss);

/// Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019), and the
/// iterates' average (or NULL).
void nk_adam(int32_t variant, int64_t count, nk_update u, const float *gradient, float *parameter,
             float *first, float *second, float *average);

/// SGD with momentum and decoupled weight decay, and the iterates' average (or NULL).
void nk_sgd(int32_t variant, int64_t count, nk_update u, const float *gradient, float *parameter,
            float *velocity, float *average);

/// Sum of squares of `count` floats, a multiple of 16.
float nk_sum_of_squares(int32_t variant, int64_t count, const float *values);
