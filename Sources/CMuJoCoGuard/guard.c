#define _GNU_SOURCE
// See CMuJoCoGuard.h. One handler serves the whole process; a thread-local pointer says whether the
// calling thread is inside a guarded call. Outside of one, messages go on to whatever handler was
// installed before, so that a program with MuJoCo code of its own keeps its behaviour.

#include "CMuJoCoGuard.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "archive.h"
#include "structure.h"

struct mjguard_log {
  char error[1024];
  char warning[1024];
  long warning_count;
  // Whether warnings are kept side by side; of all others the last one stays.
  int is_collecting;
};

typedef struct recovery {
  jmp_buf point;
  mjguard_log *log;
  struct recovery *outer;
} recovery;

static _Thread_local recovery *active;
static _Atomic(mjfLogHandler) previous_handler;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
// The XML reader keeps its last document in global state, and a child process that compiles a model must
// not be made while a thread is in there.
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

// Takes in a warning.
static void add_warning(mjguard_log *log, const char *text) {
  char line[sizeof log->warning];
  copy_line(line, sizeof line, text);
  log->warning_count++;
  const size_t length = strlen(log->warning);
  if (!log->is_collecting || length == 0) {
    memcpy(log->warning, line, sizeof line);
  } else if (!strstr(log->warning, line)) {
    snprintf(log->warning + length, sizeof log->warning - length, "; %s", line);
  }
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
  if (message->level == mjLOG_WARNING) add_warning(here->log, message->subject);
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
  if (*text) add_warning(log, text);
  return mjguard_ok;
}

// MARK: - Files

// A file as MuJoCo got it. Entries are never moved: resources point to them.
typedef struct file_entry {
  char *path;
  unsigned char *bytes;
  size_t count;
  // The same without a percent sign, if it was asked for.
  unsigned char *masked;
  size_t masked_count;
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
  // An archive that could not be read, or is part of another model and has percent signs.
  file_entry *unreadable;
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
  free(entry->masked);
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
  if (count > 0) memcpy(copy, bytes, count);
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

// MuJoCo makes messages of texts in a model, and takes the message for a printf format: an unknown class
// called "%s%s%s" ends the process, "%x" tells what is on its stack. So the model is first compiled with
// another character in place of every percent sign, in texts, archives and paths, which no file and no message
// of MuJoCo's holds.
// Set in a child process alone, before it starts threads.
static int is_masking;
static const char percent_mask = 0x1A;

static int has_suffix(const char *path, const char *suffix) {
  const size_t length = strlen(path), count = strlen(suffix);
  return length >= count && strcasecmp(path + length - count, suffix) == 0;
}

// Of what MuJoCo's reader takes for an archive.
static int is_archive(const char *path) {
  return has_suffix(path, ".mjz") || has_suffix(path, ".zip");
}

// Whether there may be a model in a file: text before the first tag does not keep MuJoCo from reading it, nor
// does a zero behind the last.
static int may_be_xml(const unsigned char *bytes, size_t count) {
  for (size_t i = 0; i < count && bytes[i]; i++) {
    if (bytes[i] == '<') return 1;
  }
  return 0;
}

// Whether there is any percent sign, also as a character reference such as "&#37;".
static int has_percent(const unsigned char *bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (bytes[i] == '%' || bytes[i] == '&') return 1;
  }
  return 0;
}

// The length of a character reference to the percent sign that begins here; 0 if there is none.
static size_t percent_reference(const unsigned char *text, size_t count) {
  if (count < 5 || text[0] != '&' || text[1] != '#') return 0;
  const int is_hex = text[2] == 'x' || text[2] == 'X';
  size_t i = is_hex ? 3 : 2;
  unsigned long value = 0;
  for (; i < count && isxdigit(text[i]) && value < 1000; i++) {
    const int c = tolower(text[i]);
    if (!is_hex && !isdigit(c)) return 0;
    value = value * (is_hex ? 16 : 10) + (unsigned long)(isdigit(c) ? c - '0' : c - 'a' + 10);
  }
  return value == '%' && i < count && text[i] == ';' ? i + 1 : 0;
}

// A file of which another text is compiled; see `mjguard_change`.
static unsigned char *without_percents(
    const char *name, const unsigned char *bytes, size_t count, size_t *new_count, int *failed) {
  (void)name;
  if (!may_be_xml(bytes, count) || !has_percent(bytes, count)) return NULL;
  unsigned char *masked = malloc(count);
  if (!masked) {
    *failed = 1;
    return NULL;
  }
  size_t n = 0;
  int is_changed = 0;
  for (size_t i = 0; i < count; n++) {
    const size_t length = percent_reference(bytes + i, count - i);
    if (length > 0 || bytes[i] == '%') {
      masked[n] = (unsigned char)percent_mask;
      is_changed = 1;
      i += length > 0 ? length : 1;
    } else {
      masked[n] = bytes[i++];
    }
  }
  *new_count = n;
  if (is_changed) return masked;
  free(masked);
  return NULL;
}

static void mask(char *text) {
  for (; *text; text++) {
    if (*text == '%') *text = percent_mask;
  }
}

static void unmask(char *text) {
  for (; *text; text++) {
    if (*text == percent_mask) *text = '%';
  }
}

// Whatever MuJoCo opens is read at once and kept: a file that it opens twice cannot change in between,
// and one that it only looks whether it is there counts as well.
static int open_resource(mjResource *resource) {
  mjguard_files *files = resource->provider->data;
  char name[PATH_MAX];
  const char *path = resource->name;
  if (is_masking && strlen(path) < sizeof name) {
    strcpy(name, path);
    unmask(name);
    path = name;
  }
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
  int failed = 0;
  if (is_masking && entry && !entry->masked) {
    if (is_archive(entry->path)) {
      // MuJoCo reads archives from the disk: here they can only be refused.
      size_t size;
      unsigned char *other = mjguard_rewrite_archive(
          entry->bytes, entry->count, without_percents, '%', percent_mask, &size, &failed);
      if (other) failed = 1;
      free(other);
      if (failed && !files->unreadable) files->unreadable = entry;
    } else {
      entry->masked =
          without_percents(entry->path, entry->bytes, entry->count, &entry->masked_count, &failed);
    }
  }
  pthread_mutex_unlock(&files->lock);
  if (!entry || failed) return 0;
  resource->data = entry;
  return 1;
}

static int read_resource(mjResource *resource, const void **buffer) {
  const file_entry *entry = resource->data;
  if (is_masking && entry->masked) {
    *buffer = entry->masked;
    return (int)entry->masked_count;
  }
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
    if (is_masking) mask(first);
    mj_mountVFS(vfs, first, provider);
  }
  closedir(root);
}

// MARK: - Loading

static mjModel *compile(const char *path, const mjVFS *vfs, char *text, int size) {
  if (has_suffix(path, ".mjb")) {
    mjModel *model = mj_loadModel(path, vfs);
    const char *field = model ? mjguard_bad_field(model) : NULL;
    // What a state's moment arms take is told by nothing else in the model: room for all that there can be.
    if (model && model->nJmom < model->nout * model->nv) model->nJmom = model->nout * model->nv;
    if (!field) return model;
    snprintf(text, (size_t)size, "%s holds what no compiled model can", field);
    mj_deleteModel(model);
    return NULL;
  }
  if (!is_archive(path)) return mj_loadXML(path, vfs, text, size);
  mjSpec *spec = mj_parse(path, NULL, vfs, text, size);
  if (!spec) return NULL;
  mjModel *model = mj_compile(spec, vfs);
  const char *problem = mjs_getError(spec);
  if (problem && *problem) copy_line(text, (size_t)size, problem);
  mj_deleteSpec(spec);
  return model;
}

// What a model may take. Each of them is told in the message that refuses a model.
enum {
  compiling_megabytes = 1536,  // all that is in use while it is compiled, its data included
  model_megabytes = 512,       // what is compiled; a task has a copy or two
  data_megabytes = 256,        // the data of a worker, but for its arena
  arena_megabytes = 8192,      // that arena: room for contacts, of which pages come as they are used
  watching_milliseconds = 10,  // from one look at what is in use to the next
  compiling_seconds = 600,     // by the clock
  processor_seconds = 60       // of all threads together
};

// Adds a size that a text states outright, which is told before anything of that size is compiled; true if it,
// or all of them together, are too large.
static int is_too_large(mjguard_log *log, const char *what, double bytes, double *all) {
  const double megabytes = bytes / (1 << 20);
  *all += megabytes;
  if (*all <= model_megabytes) return 0;
  snprintf(
      log->error, sizeof log->error, "%s%s would take %.0f MB (at most %d)",
      megabytes > model_megabytes ? "" : "height fields, textures and sizes up to ", what,
      megabytes > model_megabytes ? megabytes : *all, model_megabytes);
  return 1;
}

static int states_too_much(mjguard_log *log, const mjSpec *spec) {
  char what[200];
  double all = 0;
  for (mjsElement *e = mjs_firstElement(spec, mjOBJ_HFIELD); e; e = mjs_nextElement(spec, e)) {
    const mjsHField *field = mjs_asHField(e);
    snprintf(what, sizeof what, "a height field of %d x %d", field->nrow, field->ncol);
    if (is_too_large(log, what, (double)field->nrow * field->ncol * sizeof(float), &all)) return 1;
  }
  for (mjsElement *e = mjs_firstElement(spec, mjOBJ_TEXTURE); e; e = mjs_nextElement(spec, e)) {
    const mjsTexture *texture = mjs_asTexture(e);
    if (texture->builtin == mjBUILTIN_NONE) continue;
    // A cube has six faces.
    const double height = texture->type == mjTEXTURE_2D ? texture->height : 6.0 * texture->width;
    snprintf(what, sizeof what, "a texture of %d x %.0f", texture->width, height);
    if (is_too_large(log, what, texture->width * height * texture->nchannel, &all)) return 1;
  }
  const struct {
    const char *name;
    double numbers;
  } sizes[] = {
      {"nkey", 8.0 * spec->nkey},           {"nuserdata", spec->nuserdata},
      {"nuser_body", spec->nuser_body},     {"nuser_jnt", spec->nuser_jnt},
      {"nuser_geom", spec->nuser_geom},     {"nuser_site", spec->nuser_site},
      {"nuser_cam", spec->nuser_cam},       {"nuser_tendon", spec->nuser_tendon},
      {"nuser_actuator", spec->nuser_actuator}, {"nuser_sensor", spec->nuser_sensor},
  };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    // A negative one is left to MuJoCo.
    if (!(sizes[i].numbers > 0)) continue;
    snprintf(what, sizeof what, "the size %s", sizes[i].name);
    if (is_too_large(log, what, 8 * sizes[i].numbers, &all)) return 1;
  }
  if (spec->memory > (mjtSize)arena_megabytes << 20) {
    snprintf(
        log->error, sizeof log->error, "the size memory is %lld MB (at most %d)",
        (long long)(spec->memory >> 20), arena_megabytes);
    return 1;
  }
  return 0;
}

// Called inside a guarded call. NULL if the text says enough to refuse the model.
static mjSpec *parse(const char *path, const mjVFS *vfs, char *text, int size) {
  if (has_suffix(path, ".mjb")) return NULL;
  return is_archive(path) ? mj_parse(path, NULL, vfs, text, size) : mj_parseXML(path, vfs, text, size);
}

static mjguard_result refuse(mjguard_log *log, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(log->error, sizeof log->error, format, arguments);
  va_end(arguments);
  return mjguard_error;
}

// What this process has allocated, and what of its memory is in use [bytes].
typedef struct process_sizes {
  rlim_t data;
  rlim_t resident;
} process_sizes;

static process_sizes sizes_of_process(pid_t process) {
  process_sizes sizes = {0, 0};
  long pages[6] = {0};
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/statm", (long)process);
  FILE *file = fopen(path, "r");
  if (!file) return sizes;
  const int found = fscanf(
      file, "%ld %ld %ld %ld %ld %ld", pages, pages + 1, pages + 2, pages + 3, pages + 4, pages + 5);
  fclose(file);
  if (found != 6) return sizes;
  const rlim_t page = (rlim_t)sysconf(_SC_PAGESIZE);
  sizes.data = (rlim_t)pages[5] * page;
  sizes.resident = (rlim_t)pages[1] * page;
  return sizes;
}

static long resident_megabytes(pid_t process) {
  return (long)(sizes_of_process(process).resident >> 20);
}

static rlim_t data_before, data_allowed;

// Limits what this process may allocate beyond what it had when it was made: what may be used, and so many
// megabytes for an arena, which the compiler makes too. What is used of it all the parent watches.
static void limit_memory(int arena) {
  struct rlimit limit;
  if (data_before == 0 || getrlimit(RLIMIT_DATA, &limit) != 0) return;
  const rlim_t bound = data_before + ((rlim_t)(compiling_megabytes + arena) << 20);
  limit.rlim_cur = bound < data_allowed ? bound : data_allowed;
  setrlimit(RLIMIT_DATA, &limit);
}

// Compiles a model here and now, without protection from what MuJoCo cannot report.
static mjguard_result load(mjguard_log *log, const char *path, mjguard_files *files, mjModel **model) {
  char text[1024] = "", name[PATH_MAX];
  if (strlen(path) >= sizeof name) return refuse(log, "its path is too long");
  strcpy(name, path);
  if (is_masking) mask(name);
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
  int refused = 0;
  int *const is_refused = &refused;
  // After an error the virtual file system is left as it is: nothing says in what state.
  GUARDED(log, {
    mj_defaultVFS(&vfs);
    mount_everywhere(&vfs, &provider, name);
    if (is_masking) {
      // A text needs no arena: what asks for that much is denied it.
      limit_memory(0);
      mjSpec *spec = parse(name, &vfs, text, sizeof text);
      if (spec) {
        *is_refused = states_too_much(log, spec);
        mj_deleteSpec(spec);
      }
      *text = 0;
      limit_memory(arena_megabytes);
    }
    if (!*is_refused) *model = compile(name, &vfs, text, sizeof text);
    mj_deleteVFS(&vfs);
  })
  if (refused) return mjguard_error;
  // The reader of binary models tells what is wrong as a warning.
  if (result == mjguard_ok && !*model && !*text) {
    const char *reason = *log->warning ? log->warning : "this is no model of this version of MuJoCo";
    copy_line(text, sizeof text, reason);
  }
  return loaded(log, result, *model, text);
}

static mjguard_result make_data(mjguard_log *log, const mjModel *model, mjData **data) {
  GUARDED(log, *data = mj_makeData(model);)
  return result;
}

static mjguard_result forward(mjguard_log *log, const mjModel *model, mjData *data) {
  GUARDED(log, mj_forward(model, data);)
  return result;
}

// Drawn before the child is made: a process of the same number may have left its folder.
static uint64_t folder_number;

// The folder of a process that compiles an archive; its own alone.
static void temporary_folder(char *folder, size_t size) {
  const char *parent = getenv("TMPDIR");
  snprintf(
      folder, size, "%s/gps-archive-%016" PRIx64, parent && *parent == '/' ? parent : "/tmp",
      folder_number);
}

// Removes it, where it is one that such a process has made: a link there may lead anywhere.
static void remove_temporary(void) {
  char folder[PATH_MAX];
  temporary_folder(folder, sizeof folder);
  const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat status;
  DIR *list = NULL;
  if (descriptor >= 0 && fstat(descriptor, &status) == 0 && status.st_uid == geteuid() &&
      (status.st_mode & 0777) == 0700) {
    list = fdopendir(descriptor);
  }
  if (!list) {
    if (descriptor >= 0) close(descriptor);
    return;
  }
  for (const struct dirent *entry; (entry = readdir(list));) {
    unlinkat(dirfd(list), entry->d_name, 0);
  }
  closedir(list);
  rmdir(folder);
}

// Writes an archive without percent signs, if it has any in it or in its path, to a file of its own, because
// MuJoCo reads archives from the disk. `name` is then that file's, by the name that MuJoCo shall be told.
static mjguard_result rewrite_archive(
    mjguard_log *log, const char *path, mjguard_files *files, char *name, size_t size) {
  const char *actual = path;
  for (const place *here = files->places; here; here = here->next) {
    if (strcmp(here->asked, path) == 0) actual = here->path;
  }
  size_t count, new_count = 0;
  unsigned char *bytes = read_whole(actual, &count);
  if (!bytes) return refuse(log, "it cannot be read");
  int failed;
  unsigned char *other = mjguard_rewrite_archive(
      bytes, count, without_percents, '%', percent_mask, &new_count, &failed);
  if (failed) {
    free(bytes);
    return refuse(log, "the archive is damaged or too large, or packed by something else than Deflate");
  }
  if (!other && strchr(path, '%')) {
    other = bytes;
    new_count = count;
    bytes = NULL;
  }
  free(bytes);
  if (!other) return mjguard_ok;
  char folder[PATH_MAX], masked[2 * PATH_MAX];
  temporary_folder(folder, sizeof folder);
  const char *last = strrchr(path, '/');
  snprintf(name, size, "%s/%s", folder, last ? last + 1 : path);
  snprintf(masked, sizeof masked, "%s", name);
  mask(masked);
  // A folder that is there is somebody else's.
  const int descriptor = mkdir(folder, 0700) == 0
                             ? open(masked, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)
                             : -1;
  size_t done = 0;
  while (descriptor >= 0 && done < new_count) {
    const ssize_t written = write(descriptor, other + done, new_count - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done += (size_t)written;
  }
  const int problem = errno;
  if (descriptor >= 0) close(descriptor);
  if (descriptor < 0 || done < new_count) {
    free(other);
    return refuse(
        log, "no temporary folder %s can be written for it: %s (set TMPDIR to a folder that takes one)", folder,
        strerror(problem));
  }
  // What the reader asks for is there already.
  return add_entry(files, name, other, new_count) ? mjguard_ok : refuse(log, "out of memory");
}

// Puts one text in place of another wherever it stands, as far as there is room.
static void replace(char *text, size_t size, const char *from, const char *to) {
  const size_t length = strlen(from), count = strlen(to);
  for (char *at = text; (at = strstr(at, from)); at += count) {
    if (strlen(text) - length + count >= size) return;
    memmove(at + count, at + length, strlen(at + length) + 1);
    memcpy(at, to, count);
  }
}

// What the child process does, alone with one thread.
static mjguard_result try_model(mjguard_log *log, const char *path, mjguard_files *files) {
  mjModel *model;
  char name[2 * PATH_MAX] = "";
  if (is_archive(path) && rewrite_archive(log, path, files, name, sizeof name) != mjguard_ok) {
    return mjguard_error;
  }
  is_masking = 1;
  mjguard_result result = load(log, *name ? name : path, files, &model);
  unmask(log->error);
  if (*name) replace(log->error, sizeof log->error, name, path);
  if (result != mjguard_ok && files->unreadable) {
    return refuse(
        log, "its part %.900s is an archive that is damaged, or has percent signs in its texts",
        files->unreadable->path);
  }
  if (result != mjguard_ok) {
    const size_t length = strlen(log->error);
    if (strstr(log->error, "llocate memory") || strstr(log->error, "out of memory")) {
      snprintf(
          log->error + length, sizeof log->error - length, " (at most %d MB)", compiling_megabytes);
    }
    return result;
  }
  if (strchr(log->warning, percent_mask)) {
    unmask(log->warning);
    return refuse(log, "MuJoCo cannot warn of a name with %% in it: %.900s", log->warning);
  }
  int is_masked = *name != 0;
  for (const file_entry *entry = files->first; entry; entry = entry->next) {
    is_masked |= entry->masked != NULL;
  }
  is_masking = 0;
  if (is_masked) {
    mj_deleteModel(model);
    result = load(log, path, files, &model);
    if (result != mjguard_ok) return result;
  }
  const long size = (long)(mj_sizeModel(model) >> 20);
  if (size > model_megabytes) {
    return refuse(log, "compiled, it takes %ld MB (at most %d)", size, model_megabytes);
  }
  if ((model->narena >> 20) > arena_megabytes) {
    return refuse(
        log, "the arena of its data is %lld MB (at most %d)", (long long)(model->narena >> 20),
        arena_megabytes);
  }
  mjData *data = NULL;
  if (make_data(log, model, &data) != mjguard_ok || !data) {
    return refuse(
        log, "its data would take more than %d MB of memory, its arena of %lld MB aside",
        compiling_megabytes, (long long)(model->narena >> 20));
  }
  // Where it starts, what it uses of its arena must stay within the bounds too.
  const long before = resident_megabytes(getpid());
  const int is_started = forward(log, model, data) == mjguard_ok;
  const long used = resident_megabytes(getpid()) - before;
  if (is_started && used > data_megabytes) {
    return refuse(
        log, "at its start it uses %ld MB of its arena (at most %d)", used, data_megabytes);
  }
  const long count = (long)(data->nbuffer >> 20);
  if (count > data_megabytes) {
    return refuse(
        log, "the data of each worker would take %ld MB (at most %d)", count, data_megabytes);
  }
  return mjguard_ok;
}

static void run_child(const char *path, mjguard_files *files, int output, pid_t parent) {
  // Nobody waits for this process when its parent is gone.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  static const int numbers[] = {SIGINT, SIGTERM, SIGABRT, SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGALRM, SIGXCPU};
  sigset_t all;
  sigemptyset(&all);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    signal(numbers[i], SIG_DFL);
    sigaddset(&all, numbers[i]);
  }
  pthread_sigmask(SIG_UNBLOCK, &all, NULL);
  const struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  // The libraries' last words are of no use to anybody.
  const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nowhere >= 0) {
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
  }
  alarm(compiling_seconds);
  const struct rlimit time = {processor_seconds, processor_seconds + 1};
  setrlimit(RLIMIT_CPU, &time);
  // Where memory runs out all the same, let it be this process that ends.
  const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0) {
    if (write(score, "1000", 4) < 0) { /* The system has its own mind. */ }
    close(score);
  }
  struct rlimit data;
  if (getrlimit(RLIMIT_DATA, &data) == 0) {
    data_allowed = data.rlim_cur;
    data_before = sizes_of_process(getpid()).data;
  }
  limit_memory(arena_megabytes);
  static mjguard_log log;
  log.is_collecting = 1;
  const mjguard_result result = try_model(&log, path, files);
  if (result == mjguard_ok) log.error[0] = 0;
  const char *bytes = (const char *)&log;
  for (size_t done = 0; done < sizeof log;) {
    const ssize_t count = write(output, bytes + done, sizeof log - done);
    if (count < 0 && errno != EINTR) break;
    if (count > 0) done += (size_t)count;
  }
  _exit(result == mjguard_ok ? 0 : 1);
}

// Compiles a model for the first time in a process of its own: no model can end this one, nor take its
// memory. MuJoCo's compiler is C++ with a runtime of its own, so that nobody outside can catch what it
// throws: for want of memory it ends in abort().
static mjguard_result try_in_child(mjguard_log *log, const char *path, mjguard_files *files) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return refuse(log, "it cannot be compiled: %s", strerror(errno));
  const pid_t parent = getpid();
  if (getrandom(&folder_number, sizeof folder_number, GRND_NONBLOCK) < 0) folder_number = (uint64_t)parent;
  const pid_t child = fork();
  if (child < 0) {
    const int number = errno;
    close(ends[0]);
    close(ends[1]);
    return refuse(log, "no process can be started to compile it: %s", strerror(number));
  }
  if (child == 0) run_child(path, files, ends[1], parent);
  close(ends[1]);
  mjguard_log told = {0};
  size_t done = 0;
  struct pollfd answer = {.fd = ends[0], .events = POLLIN};
  const long before = resident_megabytes(child);
  int is_greedy = 0;
  while (done < sizeof told) {
    const int ready = poll(&answer, 1, watching_milliseconds);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      if (!is_greedy && resident_megabytes(child) - before > compiling_megabytes) {
        is_greedy = 1;
        kill(child, SIGKILL);
      }
      continue;
    }
    const ssize_t count = read(ends[0], (char *)&told + done, sizeof told - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += (size_t)count;
  }
  close(ends[0]);
  int status = 0;
  pid_t ended;
  do ended = waitpid(child, &status, 0);
  while (ended < 0 && errno == EINTR);
  if (is_archive(path)) remove_temporary();
  if (done == sizeof told) {
    if (!*told.error) return mjguard_ok;
    memcpy(log->error, told.error, sizeof log->error);
    return mjguard_error;
  }
  if (is_greedy) {
    return refuse(log, "compiling it takes more than %d MB of memory", compiling_megabytes);
  }
  const int number = ended == child && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  if (number == SIGXCPU) {
    return refuse(
        log, "compiling it takes more than %d s of processor time", processor_seconds);
  }
  if (number == SIGALRM) return refuse(log, "compiling it takes longer than %d s", compiling_seconds);
  if (number == SIGABRT || number == SIGKILL) {
    return refuse(
        log, "its compiler gave up; the model may need more memory than there is, or than %d MB",
        compiling_megabytes);
  }
  return refuse(log, "MuJoCo's compiler crashes on it (%s)", number ? strsignal(number) : "no answer");
}

mjguard_result mjguard_load(
    mjguard_log *log, const char *path, mjguard_files *files, mjModel **model) {
  install();
  *model = NULL;
  log->is_collecting = 1;
  pthread_mutex_lock(&load_lock);
  mjguard_result result = try_in_child(log, path, files);
  if (result == mjguard_ok) result = load(log, path, files, model);
  pthread_mutex_unlock(&load_lock);
  return result;
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
  mjguard_result result = make_data(log, model, data);
  if (result == mjguard_ok && !*data) {
    copy_line(log->error, sizeof log->error, "not enough memory for the model's data");
    result = mjguard_error;
  }
  return result;
}

int mjguard_invalidating(const mjData *data) {
  // Numbers that are not finite, contacts or constraints left out for want of room: none of them leaves
  // physics to learn from. With an inertia that is nearly singular MuJoCo goes on with the least it can
  // divide by, as its own loop does.
  for (int i = 0; i < mjNWARNING; i++) {
    if (i != mjWARN_INERTIA && data->warning[i].number > 0) return i;
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

// There may be none of them, and no memory for them then.
static void put_numbers(double *to, const double *numbers, mjtSize count) {
  if (count > 0) memcpy(to, numbers, sizeof *to * (size_t)count);
}

mjguard_result mjguard_reset(
    mjguard_log *log, const mjModel *model, mjData *data, const double *positions,
    const double *velocities, const double *rest, int accelerations) {
  GUARDED(log, {
    mj_resetData(model, data);
    if (rest) mj_setState(model, data, rest, mjguard_rest);
    put_numbers(data->qpos, positions, model->nq);
    put_numbers(data->qvel, velocities, model->nv);
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
  const size_t square = (size_t)s * (size_t)s;
  double *const A = transition, *const B = A + square;
  double *const Ak = scratch, *const Bk = Ak + square, *const old = Bk + (size_t)s * (size_t)m;
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
    for (int i = 0; i < 3 * count; i++) forces[i] = 0;
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

mjguard_result mjguard_call(mjguard_log *log, void (*function)(void *), void *argument) {
  GUARDED(log, function(argument);)
  return result;
}

mjguard_result mjguard_raise(mjguard_log *log, const char *message) {
  install();
  GUARDED(log, mju_error("%s", message);)
  return result;
}
