// See CMuJoCoGuard.h. One handler serves the whole process; a thread-local pointer says whether the
// calling thread is inside a guarded call. Outside of one, messages go on to whatever handler was
// installed before, so that a program with MuJoCo code of its own keeps its behaviour.

#include "CMuJoCoGuard.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

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

// MARK: - Files

// A file as MuJoCo got it. Entries are never moved: resources point to them.
typedef struct file_entry {
  char *path;
  unsigned char *bytes;
  size_t count;
  struct file_entry *next;
} file_entry;

// A file that is read from another place than MuJoCo asks for.
typedef struct place {
  char *asked;
  char *path;
  struct place *next;
} place;

struct mjguard_files {
  // MuJoCo opens meshes and textures on several threads.
  pthread_mutex_t lock;
  file_entry *first;
  // The one that was opened before all others.
  file_entry *main;
  place *places;
};

mjguard_files *mjguard_make_files(void) {
  mjguard_files *files = calloc(1, sizeof *files);
  if (files) pthread_mutex_init(&files->lock, NULL);
  return files;
}

static void free_entry(file_entry *entry) {
  free(entry->path);
  free(entry->bytes);
  free(entry);
}

void mjguard_free_files(mjguard_files *files) {
  if (!files) return;
  while (files->first) {
    file_entry *entry = files->first;
    files->first = entry->next;
    free_entry(entry);
  }
  while (files->places) {
    place *here = files->places;
    files->places = here->next;
    free(here->asked);
    free(here->path);
    free(here);
  }
  pthread_mutex_destroy(&files->lock);
  free(files);
}

static file_entry *entry_at(const mjguard_files *files, int index) {
  file_entry *entry = files->first;
  while (entry && index-- > 0) entry = entry->next;
  return entry;
}

int mjguard_file_count(const mjguard_files *files) {
  int count = 0;
  for (const file_entry *entry = files->first; entry; entry = entry->next) count++;
  return count;
}

const char *mjguard_file_path(const mjguard_files *files, int index) {
  const file_entry *entry = entry_at(files, index);
  return entry ? entry->path : "";
}

const void *mjguard_file_bytes(const mjguard_files *files, int index, size_t *count) {
  const file_entry *entry = entry_at(files, index);
  *count = entry ? entry->count : 0;
  return entry ? entry->bytes : NULL;
}

int mjguard_file_is_main(const mjguard_files *files, int index) {
  const file_entry *entry = entry_at(files, index);
  return entry && entry == files->main;
}

int mjguard_place_file(mjguard_files *files, const char *asked, const char *path) {
  place *here = calloc(1, sizeof *here);
  if (!here) return 0;
  here->asked = strdup(asked);
  here->path = strdup(path);
  if (!here->asked || !here->path) {
    free(here->asked);
    free(here->path);
    free(here);
    return 0;
  }
  here->next = files->places;
  files->places = here;
  return 1;
}

// Adds an entry, in the order of their paths; takes `bytes`, which it frees if it cannot.
static file_entry *add_entry(
    mjguard_files *files, const char *path, unsigned char *bytes, size_t count) {
  file_entry *entry = calloc(1, sizeof *entry);
  char *name = strdup(path);
  if (!entry || !name) {
    free(entry);
    free(name);
    free(bytes);
    return NULL;
  }
  *entry = (file_entry){.path = name, .bytes = bytes, .count = count};
  file_entry **after = &files->first;
  while (*after && strcmp((*after)->path, path) < 0) after = &(*after)->next;
  entry->next = *after;
  *after = entry;
  return entry;
}

int mjguard_put_file(mjguard_files *files, const char *path, const void *bytes, size_t count) {
  unsigned char *copy = malloc(count ? count : 1);
  if (!copy) return 0;
  memcpy(copy, bytes, count);
  return add_entry(files, path, copy, count) != NULL;
}

// The whole of a regular file, or NULL. A pipe would never end, a device might not.
static unsigned char *read_whole(const char *path, size_t *count) {
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return NULL;
  struct stat status;
  // MuJoCo counts bytes in an int.
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > INT_MAX) {
    close(descriptor);
    return NULL;
  }
  const size_t size = (size_t)status.st_size;
  unsigned char *bytes = malloc(size ? size : 1);
  size_t done = 0;
  while (bytes && done < size) {
    const ssize_t got = read(descriptor, bytes + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      free(bytes);
      bytes = NULL;
    }
    if (got <= 0) break;
    done += (size_t)got;
  }
  close(descriptor);
  *count = done;
  return bytes;
}

// Whatever MuJoCo opens is read at once and kept: a file that it opens twice cannot change in between,
// and one that it only looks whether it is there counts as well.
static int open_resource(mjResource *resource) {
  mjguard_files *files = resource->provider->data;
  const char *path = resource->name;
  pthread_mutex_lock(&files->lock);
  for (const place *here = files->places; here; here = here->next) {
    if (strcmp(here->asked, path) == 0) path = here->path;
  }
  file_entry *entry = files->first;
  while (entry && strcmp(entry->path, path) != 0) entry = entry->next;
  if (!entry) {
    size_t count;
    unsigned char *bytes = read_whole(path, &count);
    if (bytes) entry = add_entry(files, path, bytes, count);
  }
  if (!files->main) files->main = entry;
  pthread_mutex_unlock(&files->lock);
  if (!entry) return 0;
  resource->data = entry;
  return 1;
}

static int read_resource(mjResource *resource, const void **buffer) {
  const file_entry *entry = resource->data;
  *buffer = entry->bytes;
  return (int)entry->count;
}

static void close_resource(mjResource *resource) { resource->data = NULL; }

static int mount_resource(mjResource *resource) {
  (void)resource;
  return 1;
}

// MuJoCo's cache of assets goes by times of change, in seconds: never by it.
static int is_modified(const mjResource *resource, const char *timestamp) {
  (void)resource;
  (void)timestamp;
  return 1;
}

// Mounts the provider wherever an absolute path may lead. MuJoCo looks for the mount with the path, then
// with those of its parents, the root left out.
static void mount_everywhere(mjVFS *vfs, const mjpResourceProvider *provider, const char *path) {
  char first[NAME_MAX + 2];
  const size_t length = 1 + strcspn(path + 1, "/");
  if (length < sizeof first) {
    memcpy(first, path, length);
    first[length] = 0;
    mj_mountVFS(vfs, first, provider);
  }
  DIR *root = opendir("/");
  if (!root) return;
  for (const struct dirent *entry; (entry = readdir(root));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(first, sizeof first, "/%s", entry->d_name);
    mj_mountVFS(vfs, first, provider);
  }
  closedir(root);
}

// MARK: - Loading

static int has_suffix(const char *path, const char *suffix) {
  const size_t length = strlen(path), count = strlen(suffix);
  return length >= count && strcasecmp(path + length - count, suffix) == 0;
}

static mjModel *compile(const char *path, const mjVFS *vfs, char *text, int size) {
  if (has_suffix(path, ".mjb")) return mj_loadModel(path, vfs);
  if (!has_suffix(path, ".mjz") && !has_suffix(path, ".zip")) {
    return mj_loadXML(path, vfs, text, size);
  }
  mjSpec *spec = mj_parse(path, NULL, vfs, text, size);
  if (!spec) return NULL;
  mjModel *model = mj_compile(spec, vfs);
  const char *problem = mjs_getError(spec);
  if (problem && *problem) copy_line(text, (size_t)size, problem);
  mj_deleteSpec(spec);
  return model;
}

// Called between `begin_loading` and `end_loading`, inside a guarded call.
static mjModel *load(const char *path, mjVFS *vfs, char *text, int size) {
  sigjmp_buf point;
  if (sigsetjmp(point, 1) == 0) {
    abort_point = &point;
    mjModel *model = compile(path, vfs, text, size);
    mj_deleteVFS(vfs);
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

mjguard_result mjguard_load(
    mjguard_log *log, const char *path, mjguard_files *files, mjModel **model) {
  install();
  char text[1024] = "";
  mjVFS vfs;
  mjpResourceProvider provider;
  mjp_defaultProvider(&provider);
  provider.open = open_resource;
  provider.read = read_resource;
  provider.close = close_resource;
  provider.mount = mount_resource;
  provider.unmount = mount_resource;
  provider.modified = is_modified;
  provider.data = files;
  *model = NULL;
  begin_loading();
  // After an error the virtual file system is left as it is: nothing says in what state.
  GUARDED(log, {
    mj_defaultVFS(&vfs);
    mount_everywhere(&vfs, &provider, path);
    *model = load(path, &vfs, text, sizeof text);
  })
  end_loading();
  // The reader of binary models tells what is wrong as a warning.
  if (result == mjguard_ok && !*model && !*text) {
    const char *reason = *log->warning ? log->warning : "this is no model of this version of MuJoCo";
    copy_line(text, sizeof text, reason);
  }
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

const int mjguard_rest = mjSTATE_TIME | mjSTATE_ACT | mjSTATE_CTRL | mjSTATE_MOCAP_POS |
                         mjSTATE_MOCAP_QUAT | mjSTATE_PLASTIC;

mjguard_result mjguard_read_rest(
    mjguard_log *log, const mjModel *model, mjData *data, int keyframe, double *rest) {
  GUARDED(log, {
    if (keyframe < 0) {
      mj_resetData(model, data);
    } else {
      mj_resetDataKeyframe(model, data, keyframe);
    }
    mj_getState(model, data, rest, mjguard_rest);
  })
  return result;
}

mjguard_result mjguard_reset(
    mjguard_log *log, const mjModel *model, mjData *data, const double *positions,
    const double *velocities, const double *rest, int accelerations) {
  GUARDED(log, {
    mj_resetData(model, data);
    if (rest) mj_setState(model, data, rest, mjguard_rest);
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
  const int s = 2 * (int)model->nv + (int)model->na, m = (int)model->nu;
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

mjguard_result mjguard_point_jacobians(
    mjguard_log *log, const mjModel *model, const mjData *data, const int *bodies,
    const double *positions, int count, double *jacobians) {
  GUARDED(log, {
    for (int i = 0; i < count; i++) {
      mj_jac(
          model, data, jacobians + (size_t)i * 3 * (size_t)model->nv, NULL, positions + 3 * i,
          bodies[i]);
    }
  })
  return result;
}

mjguard_result mjguard_object_velocities(
    mjguard_log *log, const mjModel *model, const mjData *data, const int *types,
    const int *objects, int count, double *velocities) {
  GUARDED(log, {
    for (int i = 0; i < count; i++) {
      mj_objectVelocity(model, data, types[i], objects[i], velocities + 6 * i, 0);
    }
  })
  return result;
}

mjguard_result mjguard_subtree_momenta(
    mjguard_log *log, const mjModel *model, mjData *data, const int *bodies, int count,
    double *momenta) {
  GUARDED(log, {
    mj_subtreeVel(model, data);
    for (int i = 0; i < count; i++) {
      const int body = bodies[i];
      for (int k = 0; k < 3; k++) {
        momenta[6 * i + k] = model->body_subtreemass[body] * data->subtree_linvel[3 * body + k];
        momenta[6 * i + 3 + k] = data->subtree_angmom[3 * body + k];
      }
    }
  })
  return result;
}

// The body that a contact's geom or flex belongs to; -1 for a flex.
static int contact_body(const mjModel *model, const mjContact *contact, int side) {
  return contact->geom[side] >= 0 ? model->geom_bodyid[contact->geom[side]] : -1;
}

mjguard_result mjguard_contact_forces(
    mjguard_log *log, const mjModel *model, const mjData *data, const int *bodies, int count,
    double *forces) {
  GUARDED(log, {
    memset(forces, 0, sizeof(double) * 3 * (size_t)count);
    for (int c = 0; c < data->ncon; c++) {
      const mjContact *contact = data->contact + c;
      const int first = contact_body(model, contact, 0);
      const int second = contact_body(model, contact, 1);
      double own[6] = {0};
      mj_contactForce(model, data, c, own);
      // Rows of the contact's frame are its axes: from the first geom to the second, then across.
      double world[3];
      mju_mulMatTVec3(world, contact->frame, own);
      for (int i = 0; i < count; i++) {
        const double sign = (bodies[i] == second) - (bodies[i] == first);
        for (int k = 0; k < 3; k++) forces[3 * i + k] += sign * world[k];
      }
    }
  })
  return result;
}

mjguard_result mjguard_raise(mjguard_log *log, const char *message) {
  install();
  GUARDED(log, mju_error("%s", message);)
  return result;
}
