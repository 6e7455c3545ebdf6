// MuJoCo calls that cannot end the process.
//
// MuJoCo reports a fatal error through a log handler that must not return, and its default handler
// exits. Each function below runs its MuJoCo calls with a recovery point: an error comes back as a
// result, its text in the log. An mjData that was in use during an error is in no defined state:
// delete it and make another. Text warnings are counted in the log; nothing is printed or written
// to a file. A log and an mjData belong to one thread at a time; models may be shared for reading.
#pragma once
#include <mujoco/mujoco.h>

#ifdef __cplusplus
extern "C" {
#endif

/// How a guarded call ended.
typedef enum mjguard_result {
  mjguard_ok = 0,       ///< as it should
  mjguard_error = 1,    ///< MuJoCo raised an error; its text is in the log
  mjguard_unstable = 2  ///< a warning that invalidates the physics; see `mjguard_invalidating`
} mjguard_result;

/// Where errors and warnings of guarded calls go.
typedef struct mjguard_log mjguard_log;

/// A new, empty log; NULL when memory is short.
mjguard_log *mjguard_make_log(void);
/// Frees a log.
void mjguard_free_log(mjguard_log *log);
/// Text of the last error, on one line; empty if there was none.
const char *mjguard_error_text(const mjguard_log *log);
/// Text of the last warning, on one line; empty if there was none. In a log with which a model was loaded all
/// different ones, with "; " between them.
const char *mjguard_warning_text(const mjguard_log *log);
/// How many warnings with a text MuJoCo has logged in guarded calls with this log.
long mjguard_warning_count(const mjguard_log *log);

/// The files that a model is compiled from, as they were read; sorted by their paths.
typedef struct mjguard_files mjguard_files;

/// No files yet; NULL when memory is short.
mjguard_files *mjguard_make_files(void);
/// Frees files and their contents.
void mjguard_free_files(mjguard_files *files);
/// How many there are.
int mjguard_file_count(const mjguard_files *files);
/// The absolute path of a file, without "." and "..".
const char *mjguard_file_path(const mjguard_files *files, int index);
/// The contents of a file.
const void *mjguard_file_bytes(const mjguard_files *files, int index, size_t *count);
/// Whether a file is the one with the model, the first that MuJoCo opened.
int mjguard_file_is_main(const mjguard_files *files, int index);
/// Puts a file that is nowhere on the disk at an absolute path; 0 when memory is short.
int mjguard_put_file(mjguard_files *files, const char *path, const void *bytes, size_t count);
/// Lets a file be read from `path` where MuJoCo asks for `asked`; 0 when memory is short.
int mjguard_place_file(mjguard_files *files, const char *asked, const char *path);

/// Loads and compiles a model: MJCF or URDF, `.mjb`, `.mjz` or `.zip` by the ending of its name.
///
/// Every file that MuJoCo opens for it, the model's own included, is read here, once, and is among
/// `files` afterwards.
///
/// It is compiled in a child process first, with a limit on its memory, so that no model can end this process
/// or take what it has.
mjguard_result mjguard_load(
    mjguard_log *log, const char *path, mjguard_files *files, mjModel **model);
/// Copies a model into `*copy`, which is made if it is NULL.
mjguard_result mjguard_copy_model(mjguard_log *log, mjModel **copy, const mjModel *model);
/// Recomputes what MuJoCo derives from a model's parameters; `data` serves as scratch.
mjguard_result mjguard_set_constants(mjguard_log *log, mjModel *model, mjData *data);
/// Makes the data of a model.
mjguard_result mjguard_make_data(mjguard_log *log, const mjModel *model, mjData **data);

/// How positions, velocities and sensors are brought to the state after the last substep.
typedef enum mjguard_stepping {
  /// The substep is split after positions and velocities: its second half comes first, then the next
  /// one's first half (`mj_step1`), so that nothing is computed twice.
  mjguard_split = 0,
  /// Whole substeps, then positions and velocities once more: for models that do not split.
  mjguard_whole = 1
} mjguard_stepping;

/// The parts of MuJoCo's state (mjtState) that a start may have beside positions and velocities: the time,
/// activations, controls, positions and orientations of mocap bodies, plastic deformations.
extern const int mjguard_rest;
/// Resets the data, to a keyframe or, if that is negative, to the model's defaults, and reads those parts.
mjguard_result mjguard_read_rest(
    mjguard_log *log, const mjModel *model, mjData *data, int keyframe, double *rest);
/// Resets the data, sets positions (nq), velocities (nv) and, unless it is NULL, the rest of the start,
/// and computes what depends on them. With `accelerations`, also the sensors that need accelerations or
/// forces, under the controls of the rest, or zero.
mjguard_result mjguard_reset(
    mjguard_log *log, const mjModel *model, mjData *data, const double *positions,
    const double *velocities, const double *rest, int accelerations);
/// Advances by `substeps` under the controls in `data->ctrl`; then positions, velocities and their
/// sensors belong to the new state, with `accelerations` the others too, under the same controls.
mjguard_result mjguard_step(
    mjguard_log *log, const mjModel *model, mjData *data, mjguard_stepping stepping, int substeps,
    int accelerations);
/// Advances like `mjguard_step`, and chains MuJoCo's finite differences of each substep: with
/// s = 2 nv + na, `transition` gets A (s × s) and B (s × nu), row-major; `scratch` has s (2 s + nu)
/// numbers.
mjguard_result mjguard_transition(
    mjguard_log *log, const mjModel *model, mjData *data, int substeps, double *transition,
    double *scratch, int accelerations);
/// The first warning type (mjtWarning) of this data that invalidates its physics, or -1. An inertia matrix
/// that is nearly singular does not: MuJoCo goes on with the least number it divides by.
int mjguard_invalidating(const mjData *data);

/// d(position)/d(velocity coordinates) of points fixed to bodies: for each, 3 × nv numbers, row-major.
mjguard_result mjguard_point_jacobians(
    mjguard_log *log, const mjModel *model, const mjData *data, const int *bodies,
    const double *positions, int count, double *jacobians);
/// Angular [rad/s], then linear velocities [m/s] of objects (`types` are of mjtObj) in world axes: 6
/// numbers for each.
mjguard_result mjguard_object_velocities(
    mjguard_log *log, const mjModel *model, const mjData *data, const int *types,
    const int *objects, int count, double *velocities);
/// Linear [kg m/s], then angular momenta [kg m²/s] of bodies and all that hangs on them, the latter about
/// their centres of mass: 6 numbers for each.
mjguard_result mjguard_subtree_momenta(
    mjguard_log *log, const mjModel *model, mjData *data, const int *bodies, int count,
    double *momenta);
/// Sums of the contact forces on bodies in world axes [N], 3 numbers for each, from the last constraint
/// forces that were computed.
mjguard_result mjguard_contact_forces(
    mjguard_log *log, const mjModel *model, const mjData *data, const int *bodies, int count,
    double *forces);
/// Calls a function of one's own, in which MuJoCo may raise errors.
mjguard_result mjguard_call(mjguard_log *log, void (*function)(void *), void *argument);
/// Raises a MuJoCo error on purpose, for tests of the guard.
mjguard_result mjguard_raise(mjguard_log *log, const char *message);

#ifdef __cplusplus
}
#endif
