// What MuJoCo's reader of binary models does not look at.
#pragma once
#include <mujoco/mujoco.h>

/// The first field of a model in which a number is none that a compiler would have written, so that memory
/// beside the model's own might be read or written; NULL if there is none.
const char *mjguard_bad_field(const mjModel *model);
