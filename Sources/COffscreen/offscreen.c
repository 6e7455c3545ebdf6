#define _GNU_SOURCE
#include "COffscreen.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- Contexts ---------------------------------------------------------------------------------------------------

struct offscreen_context {
  const char *name;
  // Never closed while OpenGL's own threads may run in them.
  void *library;
  void *display, *context;
  unsigned char *buffer;
  void (*destroy)(offscreen_context *);
};

// Of EGL's and OSMesa's headers, which need not be there to build this, the few numbers that are used
// (https://registry.khronos.org/EGL, https://docs.mesa3d.org).
enum {
  egl_none = 0x3038, egl_surface_type = 0x3033, egl_pbuffer_bit = 1, egl_renderable_type = 0x3040,
  egl_opengl_bit = 8, egl_red_size = 0x3024, egl_green_size = 0x3023, egl_blue_size = 0x3022,
  egl_depth_size = 0x3025, egl_opengl_api = 0x30A2, egl_width = 0x3057, egl_height = 0x3056,
  egl_platform_surfaceless = 0x31DD, egl_platform_device = 0x313F,
  gl_rgba = 0x1908, gl_unsigned_byte = 0x1401
};

typedef void *(*egl_get_address)(const char *);
typedef void *(*egl_get_platform_display)(unsigned, void *, const int32_t *);
typedef unsigned (*egl_query_devices)(int32_t, void **, int32_t *);
typedef void *(*egl_get_display)(void *);
typedef unsigned (*egl_initialize)(void *, int32_t *, int32_t *);
typedef unsigned (*egl_bind_api)(unsigned);
typedef unsigned (*egl_choose_config)(void *, const int32_t *, void **, int32_t, int32_t *);
typedef void *(*egl_create_context)(void *, void *, void *, const int32_t *);
typedef void *(*egl_create_pbuffer)(void *, void *, const int32_t *);
typedef unsigned (*egl_make_current)(void *, void *, void *, void *);
typedef unsigned (*egl_destroy_context)(void *, void *);
typedef unsigned (*egl_terminate)(void *);

static void destroy_egl(offscreen_context *made) {
  egl_make_current make_current = (egl_make_current)dlsym(made->library, "eglMakeCurrent");
  egl_destroy_context destroy = (egl_destroy_context)dlsym(made->library, "eglDestroyContext");
  egl_terminate terminate = (egl_terminate)dlsym(made->library, "eglTerminate");
  if (make_current) make_current(made->display, NULL, NULL, NULL);
  if (destroy) destroy(made->display, made->context);
  if (terminate) terminate(made->display);
}

// A context on one display of EGL's; what it says where there is none.
static const char *use_display(offscreen_context *made, void *display) {
  egl_initialize initialize = (egl_initialize)dlsym(made->library, "eglInitialize");
  egl_bind_api bind = (egl_bind_api)dlsym(made->library, "eglBindAPI");
  egl_choose_config choose = (egl_choose_config)dlsym(made->library, "eglChooseConfig");
  egl_create_context create = (egl_create_context)dlsym(made->library, "eglCreateContext");
  egl_create_pbuffer create_pbuffer = (egl_create_pbuffer)dlsym(made->library, "eglCreatePbufferSurface");
  egl_make_current make_current = (egl_make_current)dlsym(made->library, "eglMakeCurrent");
  egl_destroy_context destroy = (egl_destroy_context)dlsym(made->library, "eglDestroyContext");
  if (!initialize || !bind || !choose || !create || !create_pbuffer || !make_current || !destroy)
    return "libEGL.so.1 lacks functions";
  if (!initialize(display, NULL, NULL)) return "no display can be initialised";
  if (!bind(egl_opengl_api)) return "it has no OpenGL";
  const int32_t wanted[] = {
    egl_surface_type, egl_pbuffer_bit, egl_renderable_type, egl_opengl_bit, egl_red_size, 8, egl_green_size, 8,
    egl_blue_size, 8, egl_depth_size, 24, egl_none};
  void *config = NULL;
  int32_t count = 0;
  if (!choose(display, wanted, &config, 1, &count) || count < 1) return "it has no configuration for pictures";
  void *context = create(display, config, NULL, NULL);
  if (!context) return "no context can be made";
  // MuJoCo draws into a buffer of its own; some drivers want a surface all the same.
  if (!make_current(display, NULL, NULL, context)) {
    const int32_t size[] = {egl_width, 1, egl_height, 1, egl_none};
    void *surface = create_pbuffer(display, config, size);
    if (!surface || !make_current(display, surface, surface, context)) {
      destroy(display, context);
      return "no context can be made current";
    }
  }
  made->display = display;
  made->context = context;
  made->destroy = destroy_egl;
  made->name = "EGL";
  return NULL;
}

static const char *make_egl(offscreen_context *made) {
  // For MuJoCo, too, which looks for functions among all that is loaded.
  made->library = dlopen("libEGL.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (!made->library) return "there is no libEGL.so.1";
  egl_get_address address = (egl_get_address)dlsym(made->library, "eglGetProcAddress");
  if (!address) return "libEGL.so.1 lacks functions";
  egl_get_platform_display platform = (egl_get_platform_display)address("eglGetPlatformDisplayEXT");
  egl_query_devices query = (egl_query_devices)address("eglQueryDevicesEXT");
  const char *said = "there is no display";
  if (platform) {
    void *devices[16];
    int32_t count = 0;
    if (!query || !query(16, devices, &count)) count = 0;
    for (int32_t i = 0; i < count; i++) {
      void *display = platform(egl_platform_device, devices[i], NULL);
      if (display && !(said = use_display(made, display))) return NULL;
    }
    void *display = platform(egl_platform_surfaceless, NULL, NULL);
    if (display && !(said = use_display(made, display))) return NULL;
  }
  egl_get_display get_display = (egl_get_display)dlsym(made->library, "eglGetDisplay");
  void *display = get_display ? get_display(NULL) : NULL;
  if (display) said = use_display(made, display);
  return said;
}

typedef void *(*osmesa_create)(unsigned, int, int, int, void *);
typedef unsigned char (*osmesa_make_current)(void *, void *, unsigned, int, int);
typedef void (*osmesa_destroy)(void *);

static void destroy_osmesa(offscreen_context *made) {
  osmesa_destroy destroy = (osmesa_destroy)dlsym(made->library, "OSMesaDestroyContext");
  if (destroy) destroy(made->context);
  free(made->buffer);
}

static const char *make_osmesa(offscreen_context *made) {
  made->library = dlopen("libOSMesa.so.8", RTLD_NOW | RTLD_GLOBAL);
  if (!made->library) made->library = dlopen("libOSMesa.so.6", RTLD_NOW | RTLD_GLOBAL);
  if (!made->library) return "there is no libOSMesa.so.8";
  osmesa_create create = (osmesa_create)dlsym(made->library, "OSMesaCreateContextExt");
  osmesa_make_current make_current = (osmesa_make_current)dlsym(made->library, "OSMesaMakeCurrent");
  if (!create || !make_current) return "libOSMesa lacks functions";
  made->context = create(gl_rgba, 24, 8, 0, NULL);
  if (!made->context) return "no context can be made";
  made->destroy = destroy_osmesa;
  // MuJoCo draws into a buffer of its own.
  made->buffer = malloc(4 * 16 * 16);
  if (!made->buffer || !make_current(made->context, made->buffer, gl_unsigned_byte, 16, 16)) {
    destroy_osmesa(made);
    return "no context can be made current";
  }
  made->name = "OSMesa";
  return NULL;
}

offscreen_context *offscreen_make_context(char *reason, size_t size) {
  offscreen_context *made = calloc(1, sizeof *made);
  if (!made) {
    snprintf(reason, size, "memory is short");
    return NULL;
  }
  // As MuJoCo's Python package reads it: any other word, such as "disable", asks for neither.
  const char *asked = getenv("MUJOCO_GL");
  char refusal[100];
  snprintf(refusal, sizeof refusal, "MUJOCO_GL asks for %.60s", asked ? asked : "");
  const int may_egl = !asked || !*asked || !strcmp(asked, "egl");
  const int may_osmesa = !asked || !*asked || !strcmp(asked, "osmesa");
  const char *egl = may_egl ? make_egl(made) : refusal;
  if (!egl) {
    // Where MuJoCo looks for the functions of OpenGL.
    setenv("MUJOCO_GL", "egl", 1);
    return made;
  }
  memset(made, 0, sizeof *made);
  const char *osmesa = may_osmesa ? make_osmesa(made) : refusal;
  if (!osmesa) {
    setenv("MUJOCO_GL", "osmesa", 1);
    return made;
  }
  snprintf(reason, size, "EGL: %s; OSMesa: %s", egl, osmesa);
  free(made);
  return NULL;
}

const char *offscreen_context_name(const offscreen_context *context) { return context->name; }

void offscreen_free_context(offscreen_context *context) {
  if (!context) return;
  context->destroy(context);
  free(context);
}

// --- Pictures ---------------------------------------------------------------------------------------------------

struct offscreen_view {
  mjvScene scene;
  mjvOption option;
  mjvCamera camera;
  mjrContext context;
};

void offscreen_make_view(void *argument) {
  offscreen_job *job = argument;
  offscreen_view *view = calloc(1, sizeof *view);
  job->problem = NULL;
  job->view = view;
  if (!view) {
    job->problem = "memory is short";
    return;
  }
  mjv_defaultScene(&view->scene);
  mjr_defaultContext(&view->context);
  mjv_defaultOption(&view->option);
  mjv_defaultFreeCamera(job->model, &view->camera);
  if (job->camera >= 0) {
    view->camera.type = mjCAMERA_FIXED;
    view->camera.fixedcamid = job->camera;
  }
  // Room for every geom and what is drawn beside them.
  mjv_makeScene(job->model, &view->scene, 2 * (int)job->model->ngeom + 2 * (int)job->model->nsite + 2000);
  mjr_makeContext(job->model, &view->context, mjFONTSCALE_100);
  mjr_setBuffer(mjFB_OFFSCREEN, &view->context);
  if (view->context.currentBuffer != mjFB_OFFSCREEN) {
    job->problem = "OpenGL has no buffers to draw into";
    return;
  }
  mjr_resizeOffscreen(job->width, job->height, &view->context);
  view->scene.flags[mjRND_SHADOW] = (mjtByte)job->shadows;
  view->scene.flags[mjRND_REFLECTION] = (mjtByte)job->shadows;
  view->scene.flags[mjRND_HAZE] = 0;
}

void offscreen_draw(void *argument) {
  offscreen_job *job = argument;
  offscreen_view *view = job->view;
  const mjrRect area = {0, 0, job->width, job->height};
  mjv_updateScene(job->model, job->data, &view->option, NULL, &view->camera, mjCAT_ALL, &view->scene);
  mjr_render(area, &view->scene, &view->context);
  mjr_readPixels(job->pixels, NULL, area, &view->context);
  // OpenGL's rows begin at the bottom.
  const size_t row = 3 * (size_t)job->width;
  for (int i = 0; i < job->height / 2; i++) {
    unsigned char *a = job->pixels + row * (size_t)i, *b = job->pixels + row * (size_t)(job->height - 1 - i);
    for (size_t k = 0; k < row; k++) {
      const unsigned char byte = a[k];
      a[k] = b[k];
      b[k] = byte;
    }
  }
}

void offscreen_free_view(void *argument) {
  offscreen_job *job = argument;
  if (!job->view) return;
  mjr_freeContext(&job->view->context);
  mjv_freeScene(&job->view->scene);
  free(job->view);
  job->view = NULL;
}
