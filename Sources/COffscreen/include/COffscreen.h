// OpenGL without a display, and MuJoCo's pictures by it. The libraries for it are looked for when they are first
// needed: a program that draws nothing needs none of them.
#pragma once
#include <mujoco/mujoco.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A context of OpenGL that draws into memory; belongs to the thread that made it.
typedef struct offscreen_context offscreen_context;

/// Makes a context: by EGL, on a graphics card or without one, else by OSMesa.
///
/// @param reason gets, where there is none, what each of them said, on one line.
/// @return NULL if neither works.
offscreen_context *offscreen_make_context(char *reason, size_t size);
/// "EGL" or "OSMesa".
const char *offscreen_context_name(const offscreen_context *context);
/// Ends a context.
void offscreen_free_context(offscreen_context *context);

/// A model as it is drawn in the present context. The functions below may raise MuJoCo's errors: they are for
/// `mjguard_call`.
typedef struct offscreen_view offscreen_view;

/// What to draw, and where the result goes; the argument of the functions below.
typedef struct offscreen_job {
  const mjModel *model;
  mjData *data;
  int width, height;
  /// A camera of the model's own, or -1 for MuJoCo's free one.
  int camera;
  int shadows;
  offscreen_view *view;
  /// 3 × width × height bytes, row by row from the top.
  unsigned char *pixels;
  /// NULL, or why there is no view.
  const char *problem;
} offscreen_job;

/// Makes `view` for pictures of `width` × `height` of `model`.
void offscreen_make_view(void *job);
/// Draws `data` into `pixels`.
void offscreen_draw(void *job);
/// Frees `view`.
void offscreen_free_view(void *job);

#ifdef __cplusplus
}
#endif
