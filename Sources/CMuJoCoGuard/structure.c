// A binary model is memory as it was written. MuJoCo checks that sizes fit the file and that most indices are
// within them; kinds of things, trees, and how joints share positions and velocities it takes as they are.

#include "structure.h"

#include <stddef.h>

// Whether all numbers of a field are within bounds, both included.
static int within(const int *numbers, mjtSize count, int least, mjtSize most) {
  for (mjtSize i = 0; i < count; i++) {
    if (numbers[i] < least || numbers[i] > most) return 0;
  }
  return 1;
}

#define REQUIRE_WITHIN(field, count, least, most) \
  if (!within(m->field, m->count, least, most)) return #field;
#define REQUIRE(condition, field) \
  if (!(condition)) return #field;

// Positions and velocities of a joint of a kind.
static int positions_of(int type) { return type == mjJNT_FREE ? 7 : type == mjJNT_BALL ? 4 : 1; }
static int velocities_of(int type) { return type == mjJNT_FREE ? 6 : type == mjJNT_BALL ? 3 : 1; }

// Joints and what they move lie one behind the other, body by body.
static const char *bad_joint_field(const mjModel *m) {
  mjtSize positions = 0, velocities = 0, joints = 0;
  for (mjtSize body = 0; body < m->nbody; body++) {
    const int count = m->body_jntnum[body];
    const mjtSize first = velocities;
    REQUIRE(count >= 0 && count <= m->njnt - joints, body_jntnum)
    REQUIRE(count == 0 ? m->body_jntadr[body] == -1 : m->body_jntadr[body] == joints, body_jntadr)
    for (int k = 0; k < count; k++, joints++) {
      const int type = m->jnt_type[joints];
      REQUIRE(type >= 0 && type <= mjJNT_HINGE, jnt_type)
      REQUIRE(m->jnt_bodyid[joints] == body, jnt_bodyid)
      REQUIRE(m->jnt_qposadr[joints] == positions, jnt_qposadr)
      REQUIRE(m->jnt_dofadr[joints] == velocities, jnt_dofadr)
      positions += positions_of(type);
      velocities += velocities_of(type);
      REQUIRE(positions <= m->nq && velocities <= m->nv, jnt_type)
      for (mjtSize i = velocities - velocities_of(type); i < velocities; i++) {
        REQUIRE(m->dof_jntid[i] == joints, dof_jntid)
        REQUIRE(m->dof_bodyid[i] == body, dof_bodyid)
      }
    }
    REQUIRE(m->body_dofnum[body] == velocities - first, body_dofnum)
    REQUIRE(
        velocities == first ? m->body_dofadr[body] == -1 : m->body_dofadr[body] == first, body_dofadr)
  }
  REQUIRE(joints == m->njnt && positions == m->nq && velocities == m->nv, njnt)
  return NULL;
}

static const char *bad_actuator_field(const mjModel *m) {
  mjtSize controls = 0, outputs = 0, activations = 0;
  for (mjtSize i = 0; i < m->nactuator; i++) {
    REQUIRE(m->actuator_ctrladr[i] == controls || m->actuator_ctrlnum[i] == 0, actuator_ctrladr)
    REQUIRE(
        m->actuator_ctrlnum[i] >= 0 && m->actuator_ctrlnum[i] <= m->nu - controls, actuator_ctrlnum)
    controls += m->actuator_ctrlnum[i];
    REQUIRE(
        m->actuator_outnum[i] >= 0 && m->actuator_outnum[i] <= m->nout - outputs, actuator_outnum)
    outputs += m->actuator_outnum[i];
    REQUIRE(
        m->actuator_actnum[i] >= 0 && m->actuator_actnum[i] <= m->na - activations, actuator_actnum)
    activations += m->actuator_actnum[i];
    const int type = m->actuator_trntype[i], first = m->actuator_trnid[2 * i];
    const mjtSize count = type == mjTRN_TENDON                                ? m->ntendon
                          : type == mjTRN_SITE || type == mjTRN_SLIDERCRANK   ? m->nsite
                          : type == mjTRN_BODY                                ? m->nbody
                          : type == mjTRN_JOINT || type == mjTRN_JOINTINPARENT ? m->njnt
                                                                              : m->nbody;
    REQUIRE(first < count, actuator_trnid)
  }
  REQUIRE(controls == m->nu, actuator_ctrlnum)
  return NULL;
}

static const char *bad_sensor_field(const mjModel *m) {
  mjtSize numbers = 0;
  for (mjtSize i = 0; i < m->nsensor; i++) {
    REQUIRE(m->sensor_dim[i] >= 0 && m->sensor_dim[i] <= m->nsensordata - numbers, sensor_dim)
    REQUIRE(m->sensor_adr[i] == numbers, sensor_adr)
    numbers += m->sensor_dim[i];
  }
  REQUIRE(numbers == m->nsensordata, sensor_dim)
  return NULL;
}

// Histories of delayed controls and sensors lie one behind the other: a head of two numbers, and for each sample its
// time and its numbers.
static const char *bad_history_field(const mjModel *m) {
  mjtSize numbers = 0;
  for (mjtSize i = 0; i < m->nactuator + m->nsensor; i++) {
    const mjtSize k = i - m->nactuator;
    const int is_sensor = k >= 0;
    const int *history = is_sensor ? m->sensor_history + 2 * k : m->actuator_history + 2 * i;
    const int address = is_sensor ? m->sensor_historyadr[k] : m->actuator_historyadr[i];
    const mjtSize size = is_sensor ? m->sensor_dim[k] : m->actuator_ctrlnum[i];
    REQUIRE(history[0] >= 0 && history[0] <= m->nhistory && history[1] >= 0 && history[1] <= 2, history)
    REQUIRE(address == (history[0] > 0 ? numbers : -1), historyadr)
    if (history[0] > 0) numbers += history[0] * (size + 1) + 2;
    REQUIRE(numbers <= m->nhistory, history)
  }
  REQUIRE(numbers == m->nhistory, nhistory)
  return NULL;
}

const char *mjguard_bad_field(const mjModel *m) {
  REQUIRE_WITHIN(geom_type, ngeom, 0, mjNGEOMTYPES - 1)
  REQUIRE_WITHIN(site_type, nsite, 0, mjNGEOMTYPES - 1)
  REQUIRE_WITHIN(cam_mode, ncam, 0, mjCAMLIGHT_TARGETBODYCOM)
  REQUIRE_WITHIN(light_mode, nlight, 0, mjCAMLIGHT_TARGETBODYCOM)
  REQUIRE_WITHIN(flex_dim, nflex, 1, 3)
  REQUIRE_WITHIN(tex_type, ntex, 0, mjTEXTURE_SKYBOX)
  REQUIRE_WITHIN(eq_type, neq, 0, mjEQ_DISTANCE)
  REQUIRE_WITHIN(tendon_type, ntendon, 0, mjTENDON_SPATIAL)
  REQUIRE_WITHIN(wrap_type, nwrap, 0, mjWRAP_CYLINDER)
  REQUIRE_WITHIN(actuator_trntype, nactuator, 0, mjTRN_SO3)
  REQUIRE_WITHIN(actuator_dyntype, nactuator, 0, mjDYN_USER)
  REQUIRE_WITHIN(actuator_gaintype, nactuator, 0, mjGAIN_USER)
  REQUIRE_WITHIN(actuator_biastype, nactuator, 0, mjBIAS_USER)
  REQUIRE_WITHIN(sensor_type, nsensor, 0, mjSENS_USER)
  REQUIRE_WITHIN(sensor_datatype, nsensor, 0, mjDATATYPE_QUATERNION)
  REQUIRE_WITHIN(sensor_needstage, nsensor, 0, mjSTAGE_ACC)
  REQUIRE_WITHIN(body_treeid, nbody, -1, m->ntree - 1)
  REQUIRE_WITHIN(dof_treeid, nv, 0, m->ntree - 1)
  REQUIRE_WITHIN(tree_sleep_policy, ntree, 0, mjSLEEP_INIT)
  const int *const options[] = {
      &m->opt.integrator, &m->opt.cone, &m->opt.jacobian, &m->opt.solver,
  };
  static const int last_option[] = {mjINT_DISCRETE, mjCONE_ELLIPTIC, mjJAC_AUTO, mjSOL_NEWTON};
  for (size_t i = 0; i < sizeof last_option / sizeof *last_option; i++) {
    REQUIRE(within(options[i], 1, 0, last_option[i]), opt)
  }
  const char *field = bad_joint_field(m);
  if (!field) field = bad_actuator_field(m);
  if (!field) field = bad_sensor_field(m);
  if (!field) field = bad_history_field(m);
  return field;
}
