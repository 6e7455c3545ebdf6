// MuJoCo's stepping loop in C: the model from its first keyframe (or its reference configuration), a control
// uniform in the actuators' ranges held for SUBSTEPS steps, CONTROLS controls a rollout, ROLLOUTS rollouts.
//
//   mujoco_steps MODEL ROLLOUTS CONTROLS SUBSTEPS REPETITIONS
//
// Prints MuJoCo's version number and the seconds of each repetition; one more comes first and is not printed.
#include <mujoco/mujoco.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 6) return 64;
  char text[1000] = "";
  mjModel *model = mj_loadXML(argv[1], NULL, text, sizeof text);
  if (!model) {
    fprintf(stderr, "%s\n", text);
    return 3;
  }
  mjData *data = mj_makeData(model);
  int rollouts = atoi(argv[2]), controls = atoi(argv[3]), substeps = atoi(argv[4]), repetitions = atoi(argv[5]);
  size_t nu = (size_t)model->nu, total = (size_t)rollouts * (size_t)controls * nu;
  double *u = malloc(total * sizeof *u);
  if (!data || !u) return 2;
  unsigned long long word = 1;  // Knuth's linear congruential generator
  for (size_t i = 0; i < total; i++) {
    word = word * 6364136223846793005ULL + 1442695040888963407ULL;
    double low = model->actuator_ctrlrange[2 * (i % nu)], high = model->actuator_ctrlrange[2 * (i % nu) + 1];
    u[i] = low + (high - low) * (double)(word >> 11) * 0x1p-53;
  }
  printf("%d", mj_version());
  for (int r = 0; r <= repetitions; r++) {
    double start = now();
    for (int i = 0; i < rollouts; i++) {
      if (model->nkey > 0) mj_resetDataKeyframe(model, data, 0);
      else mj_resetData(model, data);
      for (int t = 0; t < controls; t++) {
        memcpy(data->ctrl, u + ((size_t)i * (size_t)controls + (size_t)t) * nu, nu * sizeof *u);
        for (int s = 0; s < substeps; s++) mj_step(model, data);
      }
    }
    if (r > 0) printf(" %.9g", now() - start);
  }
  printf("\n");
  return 0;
}
