// See CMuJoCoGuard.h. One handler serves the whole process; a thread-local pointer says whether the
// calling thread is inside a guarded call. Outside of one, messages go on to whatever handler was
// installed before, so that a program with MuJoCo code of its own keeps its behaviour.

#include "CMuJoCoGuard.h"

#include <ctype.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct mjguard_log {
  char error[1024];
  char warning[1024];
  long warning_count;
};

typedef struct recovery {
  jmp_buf point;
  mjguard_log *log;
  struct recovery *outer;
} recovery;

static _Thread_local recovery *active;
static _Atomic(mjfLogHandler) previous_handler;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
// The XML reader keeps its last document in global state.
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;

// Copies a message as one line: runs of white space become one space.
static void copy_line(char *to, size_t size, const char *from) {
  size_t n = 0;
  int gap = 0;
  for (; *from && n + 2 < size; from++) {
    if (isspace((unsigned char)*from)) {
      gap = n > 0;
    } else {
      if (gap) to[n++] = ' ';
      gap = 0;
      to[n++] = *from;
    }
  }
  to[n] = 0;
}

static void handle(const mjLogMessage *message) {
  recovery *here = active;
  if (!here) {
    mjfLogHandler previous = atomic_load(&previous_handler);
    if (previous) previous(message);
    return;
  }
  if (message->level == mjLOG_ERROR) {
    copy_line(here->log->error, sizeof here->log->error, message->subject);
    longjmp(here->point, 1);
  }
  if (message->level == mjLOG_WARNING) {
    copy_line(here->log->warning, sizeof here->log->warning, message->subject);
    here->log->warning_count++;
  }
}

// Installs the handler, again if other code has replaced it since.
static void install(void) {
  pthread_mutex_lock(&install_lock);
  mjfLogHandler previous = mju_setLogHandler(handle);
  if (previous != handle) {
    atomic_store(&previous_handler, previous);
    mju_setLogHandler(NULL);
    if (mju_setLogHandler(handle) == previous) {
      // MuJoCo's own handler: it may go on printing, but it shall not leave MUJOCO_LOG.TXT behind.
      mjLogConfig config = mju_getLogConfig();
      config.logto_file = 0;
      mju_setLogConfig(config);
    }
  }
  pthread_mutex_unlock(&install_lock);
}

// Runs the statements with a recovery point. `_setjmp` does not save the signal mask: a few
// nanoseconds. No automatic variable is changed between it and a jump, save through pointers.
#define GUARDED(log, ...)                            \
  recovery here;                                     \
  here.log = (log);                                  \
  here.outer = active;                               \
  mjguard_result result = mjguard_ok;                \
  if (_setjmp(here.point) == 0) {                    \
    active = &here;                                  \
    __VA_ARGS__                                      \
  } else {                                           \
    result = mjguard_error;                          \
  }                                                  \
  active = here.outer;

mjguard_log *mjguard_make_log(void) { return calloc(1, sizeof(mjguard_log)); }
void mjguard_free_log(mjguard_log *log) { free(log); }
const char *mjguard_error_text(const mjguard_log *log) { return log->error; }
const char *mjguard_warning_text(const mjguard_log *log) { return log->warning; }
long mjguard_warning_count(const mjguard_log *log) { return log->warning_count; }

// A loaded model, or why there is none. The reader's messages arrive in `text`: an error if there is
// no model, else a warning.
static mjguard_result loaded(mjguard_log *log, mjguard_result result, mjModel *model, char *text) {
  if (result == mjguard_error) return result;
  if (!model) {
    copy_line(log->error, sizeof log->error, *text ? text : "unknown error");
    return mjguard_error;
  }
  if (*text) {
    copy_line(log->warning, sizeof log->warning, text);
    log->warning_count++;
  }
  return mjguard_ok;
}

// MuJoCo's compiler is C++ with a C++ runtime of its own, so that nobody outside can catch what it
// throws: for want of memory it throws std::bad_alloc, which ends in abort(). While a thread loads a
// model, its SIGABRT leads back here instead; that of any other thread is what it was.
static _Thread_local sigjmp_buf *abort_point;
static struct sigaction previous_abort;

static void handle_abort(int number) {
  if (abort_point) siglongjmp(*abort_point, 1);
  sigaction(number, &previous_abort, NULL);
  raise(number);
}

// Called between `begin_loading` and `end_loading`, inside a guarded call.
static mjModel *load_xml(const char *path, const mjVFS *files, char *text, int size) {
  sigjmp_buf point;
  if (sigsetjmp(point, 1) == 0) {
    abort_point = &point;
    mjModel *model = mj_loadXML(path, files, text, size);
    abort_point = NULL;
    return model;
  }
  copy_line(text, (size_t)size, "its compiler gave up; the model may need more memory than there is");
  return NULL;
}

static void begin_loading(void) {
  pthread_mutex_lock(&load_lock);
  struct sigaction action = {.sa_handler = handle_abort};
  sigaction(SIGABRT, &action, &previous_abort);
}

static void end_loading(void) {
  abort_point = NULL;
  sigaction(SIGABRT, &previous_abort, NULL);
  pthread_mutex_unlock(&load_lock);
}

mjguard_result mjguard_load_file(mjguard_log *log, const char *path, mjModel **model) {
  install();
  char text[1024] = "";
  *model = NULL;
  begin_loading();
  GUARDED(log, *model = load_xml(path, NULL, text, sizeof text);)
  end_loading();
  return loaded(log, result, *model, text);
}

mjguard_result mjguard_load_text(mjguard_log *log, const char *xml, int length, mjModel **model) {
  install();
  char text[1024] = "";
  mjVFS files;
  *model = NULL;
  begin_loading();
  GUARDED(log, {
    mj_defaultVFS(&files);
    mj_addBufferVFS(&files, "model.xml", xml, length);
    *model = load_xml("model.xml", &files, text, sizeof text);
    mj_deleteVFS(&files);
  })
  end_loading();
  return loaded(log, result, *model, text);
}

mjguard_result mjguard_copy_model(mjguard_log *log, mjModel **copy, const mjModel *model) {
  install();
  GUARDED(log, *copy = mj_copyModel(*copy, model);)
  if (result == mjguard_ok && !*copy) {
    copy_line(log->error, sizeof log->error, "not enough memory for a copy of the model");
    result = mjguard_error;
  }
  return result;
}

mjguard_result mjguard_set_constants(mjguard_log *log, mjModel *model, mjData *data) {
  GUARDED(log, mj_setConst(model, data);)
  return result;
}

mjguard_result mjguard_make_data(mjguard_log *log, const mjModel *model, mjData **data) {
  install();
  *data = NULL;
  GUARDED(log, *data = mj_makeData(model);)
  if (result == mjguard_ok && !*data) {
    copy_line(log->error, sizeof log->error, "not enough memory for the model's data");
    result = mjguard_error;
  }
  return result;
}

int mjguard_invalidating(const mjData *data) {
  // Every type MuJoCo counts: numbers that are not finite, a singular inertia, contacts or
  // constraints left out for want of room. None of them leaves physics to learn from.
  for (int i = 0; i < mjNWARNING; i++) {
    if (data->warning[i].number > 0) return i;
  }
  return -1;
}

mjguard_result mjguard_reset(
    mjguard_log *log, const mjModel *model, mjData *data, const double *positions,
    const double *velocities, int accelerations) {
  GUARDED(log, {
    mj_resetData(model, data);
    memcpy(data->qpos, positions, sizeof(double) * (size_t)model->nq);
    memcpy(data->qvel, velocities, sizeof(double) * (size_t)model->nv);
    mj_normalizeQuat(model, data->qpos);
    mj_step1(model, data);
    if (accelerations) mj_forwardSkip(model, data, mjSTAGE_VEL, 0);
  })
  if (result == mjguard_ok && mjguard_invalidating(data) >= 0) result = mjguard_unstable;
  return result;
}

// The second half of a step, after positions and velocities: `mj_step2`, which steps by Euler's method
// where the model asks for Runge-Kutta's, and for the latter what `mj_step` does from there on.
static void second_half(const mjModel *model, mjData *data) {
  if (model->opt.integrator != mjINT_RK4) {
    mj_step2(model, data);
    return;
  }
  mj_forwardSkip(model, data, mjSTAGE_VEL, 0);
  mj_checkAcc(model, data);
  if (model->opt.enableflags & mjENBL_FWDINV) mj_compareFwdInv(model, data);
  mj_RungeKutta(model, data, 4);
}

mjguard_result mjguard_step(
    mjguard_log *log, const mjModel *model, mjData *data, mjguard_stepping stepping, int substeps,
    int accelerations) {
  GUARDED(log, {
    if (stepping == mjguard_split) {
      for (int i = 0; i < substeps; i++) {
        second_half(model, data);
        mj_step1(model, data);
      }
    } else {
      for (int i = 0; i < substeps; i++) mj_step(model, data);
      mj_step1(model, data);
    }
    if (accelerations) mj_forwardSkip(model, data, mjSTAGE_VEL, 0);
  })
  if (result == mjguard_ok && mjguard_invalidating(data) >= 0) result = mjguard_unstable;
  return result;
}

mjguard_result mjguard_transition(
    mjguard_log *log, const mjModel *model, mjData *data, int substeps, double *transition,
    double *scratch, int accelerations) {
  const int s = 2 * (int)model->nv, m = (int)model->nu;
  double *const A = transition, *const B = A + s * s;
  double *const Ak = scratch, *const Bk = Ak + s * s, *const old = Bk + s * m;
  // The centred difference's error is least where h² meets the rounding error over h.
  const double step = 1e-6;
  GUARDED(log, {
    mjd_transitionFD(model, data, step, 1, A, B, NULL, NULL);
    mj_step(model, data);
    for (int i = 1; i < substeps; i++) {
      mjd_transitionFD(model, data, step, 1, Ak, Bk, NULL, NULL);
      mju_copy(old, A, s * s);
      mju_mulMatMat(A, Ak, old, s, s, s);
      mju_copy(old, B, s * m);
      mju_mulMatMat(B, Ak, old, s, s, m);
      mju_addTo(B, Bk, s * m);
      mj_step(model, data);
    }
    mj_step1(model, data);
    if (accelerations) mj_forwardSkip(model, data, mjSTAGE_VEL, 0);
  })
  if (result == mjguard_ok && mjguard_invalidating(data) >= 0) result = mjguard_unstable;
  return result;
}

mjguard_result mjguard_site_jacobians(
    mjguard_log *log, const mjModel *model, const mjData *data, const int *sites, int count,
    double *jacobians) {
  GUARDED(log, {
    for (int i = 0; i < count; i++) {
      mj_jacSite(model, data, jacobians + (size_t)i * 3 * (size_t)model->nv, NULL, sites[i]);
    }
  })
  return result;
}

mjguard_result mjguard_site_velocities(
    mjguard_log *log, const mjModel *model, const mjData *data, const int *sites, int count,
    double *velocities) {
  GUARDED(log, {
    for (int i = 0; i < count; i++) {
      double both[6];  // rotational, then linear
      mj_objectVelocity(model, data, mjOBJ_SITE, sites[i], both, 0);
      memcpy(velocities + 3 * i, both + 3, 3 * sizeof(double));
    }
  })
  return result;
}

mjguard_result mjguard_raise(mjguard_log *log, const char *message) {
  install();
  GUARDED(log, mju_error("%s", message);)
  return result;
}
