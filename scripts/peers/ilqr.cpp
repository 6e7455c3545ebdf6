// Crocoddyl's solvers on the problems of Benchmarks' ClassicalProblems.swift: the same equations,
// costs, starts and numbers, with Jacobians by hand.
//
//   ilqr PROBLEM SOLVER TOLERANCE MAX_ITERATIONS REPETITIONS
//
// SOLVER is ddp or fddp: the variant with bounds where the problem has limits. TOLERANCE is th_stop, in
// units of the cost; all other settings are Crocoddyl's defaults. Prints one JSON object. Iterations are
// those before the last direction, which promised too little to count.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "crocoddyl/core/action-base.hpp"
#include "crocoddyl/core/optctrl/shooting.hpp"
#include "crocoddyl/core/solvers/box-ddp.hpp"
#include "crocoddyl/core/solvers/box-fddp.hpp"
#include "crocoddyl/core/solvers/ddp.hpp"
#include "crocoddyl/core/solvers/fddp.hpp"
#include "crocoddyl/core/states/euclidean.hpp"

using Eigen::MatrixXd;
using Eigen::VectorXd;
typedef Eigen::Ref<const VectorXd> In;

static const double pi = 3.14159265358979323846;

// One entry of the state in the cost: w ½ (x − target)², or w √(p² + (x − target)²) where p > 0.
struct Term {
  int entry;
  double weight, target, p;
};

struct Problem {
  int n, m, T;
  VectorXd x0, u0;
  double limits[2];  // 0 for none
  std::vector<Term> running, last;  // at every step, and once more at the last
  VectorXd effort;
  virtual ~Problem() {}
  virtual void step(const In& x, const In& u, VectorXd& next) const = 0;
  virtual void jacobians(const In& x, const In& u, MatrixXd& A, MatrixXd& B) const = 0;

 protected:
  Problem(int n, int m, int T) : n(n), m(m), T(T), x0(VectorXd::Zero(n)), u0(VectorXd::Zero(m)), limits{0, 0} {}
  void quadratic(const std::vector<double>& target, const std::vector<double>& q, const std::vector<double>& qT,
                 const std::vector<double>& r) {
    for (int i = 0; i < n; ++i) {
      running.push_back({i, q[i], target[i], 0});
      last.push_back({i, qT[i], target[i], 0});
    }
    effort = Eigen::Map<const VectorXd>(r.data(), m);
  }
};

struct Pendulum : Problem {
  static constexpr double h = 0.03;
  Pendulum() : Problem(2, 1, 100) {
    x0 << pi, 0;
    quadratic({0, 0}, {0.02, 0.002}, {100, 10}, {0.01});
  }
  void step(const In& x, const In& u, VectorXd& next) const override {
    next << x[0] + h * x[1], x[1] + h * (9.81 * std::sin(x[0]) + u[0]);
  }
  void jacobians(const In& x, const In&, MatrixXd& A, MatrixXd& B) const override {
    A << 1, h, h * 9.81 * std::cos(x[0]), 1;
    B << 0, h;
  }
};

struct CartPole : Problem {
  static constexpr double h = 0.02, lever = 0.1, a11 = 1.2, a22 = 0.2 / 3, g = 9.81;
  CartPole() : Problem(4, 1, 150) {
    x0 << 0, pi, 0, 0;
    quadratic({0, 0, 0, 0}, {0.02, 0.02, 0.002, 0.002}, {100, 100, 10, 10}, {0.002});
  }
  void step(const In& x, const In& u, VectorXd& next) const override {
    const double s = std::sin(x[1]), a12 = lever * std::cos(x[1]);
    const double b1 = u[0] + lever * x[3] * x[3] * s, b2 = lever * g * s, D = a11 * a22 - a12 * a12;
    next << x[0] + h * x[2], x[1] + h * x[3], x[2] + h * (a22 * b1 - a12 * b2) / D, x[3] + h * (a11 * b2 - a12 * b1) / D;
  }
  void jacobians(const In& x, const In& u, MatrixXd& A, MatrixXd& B) const override {
    const double s = std::sin(x[1]), c = std::cos(x[1]), a12 = lever * c, da12 = -lever * s;
    const double b1 = u[0] + lever * x[3] * x[3] * s, b2 = lever * g * s, D = a11 * a22 - a12 * a12;
    const double p = (a22 * b1 - a12 * b2) / D, q = (a11 * b2 - a12 * b1) / D;
    // M q̈ = b, hence M ∂q̈ = ∂b − ∂M q̈.
    const double r1 = lever * x[3] * x[3] * c - da12 * q, r2 = lever * g * c - da12 * p, v1 = 2 * lever * x[3] * s;
    A.setIdentity();
    A(0, 2) = A(1, 3) = h;
    A(2, 1) = h * (a22 * r1 - a12 * r2) / D;
    A(3, 1) = h * (a11 * r2 - a12 * r1) / D;
    A(2, 3) = h * a22 * v1 / D;
    A(3, 3) += -h * a12 * v1 / D;
    B << 0, 0, h * a22 / D, -h * a12 / D;
  }
};

struct Acrobot : Problem {
  static constexpr double h = 0.02, J = 1.0 / 3;
  Acrobot() : Problem(4, 1, 200) {
    quadratic({pi, 0, 0, 0}, {0.02, 0.02, 0.002, 0.002}, {100, 100, 10, 10}, {0.002});
  }
  void step(const In& x, const In& u, VectorXd& next) const override {
    const double s = std::sin(x[1]), c = std::cos(x[1]), lower = -4.905 * std::sin(x[0] + x[1]);
    const double m11 = 2 * J + 1 + c, m12 = J + 0.5 * c, D = m11 * J - m12 * m12;
    const double b1 = 0.5 * s * x[3] * (2 * x[2] + x[3]) - 14.715 * std::sin(x[0]) + lower;
    const double b2 = lower - 0.5 * s * x[2] * x[2] + u[0];
    next << x[0] + h * x[2], x[1] + h * x[3], x[2] + h * (J * b1 - m12 * b2) / D, x[3] + h * (m11 * b2 - m12 * b1) / D;
  }
  void jacobians(const In& x, const In& u, MatrixXd& A, MatrixXd& B) const override {
    const double s = std::sin(x[1]), c = std::cos(x[1]), lower = -4.905 * std::sin(x[0] + x[1]);
    const double dlower = -4.905 * std::cos(x[0] + x[1]);
    const double m11 = 2 * J + 1 + c, m12 = J + 0.5 * c, D = m11 * J - m12 * m12;
    const double b1 = 0.5 * s * x[3] * (2 * x[2] + x[3]) - 14.715 * std::sin(x[0]) + lower;
    const double b2 = lower - 0.5 * s * x[2] * x[2] + u[0];
    const double p = (J * b1 - m12 * b2) / D, q = (m11 * b2 - m12 * b1) / D;
    // By each entry of the state: ∂b − ∂M q̈, with ∂m11 = −s and ∂m12 = −s/2 by q₂.
    const double r[4][2] = {
        {-14.715 * std::cos(x[0]) + dlower, dlower},
        {0.5 * c * x[3] * (2 * x[2] + x[3]) + dlower + s * p + 0.5 * s * q, dlower - 0.5 * c * x[2] * x[2] + 0.5 * s * p},
        {s * x[3], -s * x[2]},
        {s * (x[2] + x[3]), 0}};
    A.setIdentity();
    A(0, 2) = A(1, 3) = h;
    for (int j = 0; j < 4; ++j) {
      A(2, j) += h * (J * r[j][0] - m12 * r[j][1]) / D;
      A(3, j) += h * (m11 * r[j][1] - m12 * r[j][0]) / D;
    }
    B << 0, 0, -h * m12 / D, h * m11 / D;
  }
};

struct Quadrotor : Problem {
  static constexpr double h = 0.03;
  Quadrotor() : Problem(6, 2, 100) {
    x0 << 2, 0, pi, 0, 0, 0;
    u0 << 2.4525, 2.4525;
    quadratic({0, 0, 0, 0, 0, 0}, {0.1, 0.1, 0.02, 0.01, 0.01, 0.002}, {100, 100, 100, 10, 10, 10}, {0.02, 0.02});
  }
  void step(const In& x, const In& u, VectorXd& next) const override {
    const double s = std::sin(x[2]), c = std::cos(x[2]), lift = 2 * (u[0] + u[1]);
    next << x[0] + h * x[3], x[1] + h * x[4], x[2] + h * x[5], x[3] - h * lift * s, x[4] + h * (lift * c - 9.81),
        x[5] + h * 20 * (u[0] - u[1]);
  }
  void jacobians(const In& x, const In& u, MatrixXd& A, MatrixXd& B) const override {
    const double s = std::sin(x[2]), c = std::cos(x[2]), lift = 2 * (u[0] + u[1]);
    A.setIdentity();
    A(0, 3) = A(1, 4) = A(2, 5) = h;
    A(3, 2) = -h * lift * c;
    A(4, 2) = -h * lift * s;
    B.setZero();
    B(3, 0) = B(3, 1) = -2 * h * s;
    B(4, 0) = B(4, 1) = 2 * h * c;
    B(5, 0) = 20 * h;
    B(5, 1) = -20 * h;
  }
};

struct Car : Problem {
  static constexpr double h = 0.03, d = 2;
  Car() : Problem(4, 2, 500) {
    x0 << 1, 1, 1.5 * pi, 0;
    limits[0] = 0.5;
    limits[1] = 2;
    running = {{0, 0.001, 0, 0.1}, {1, 0.001, 0, 0.1}};
    last = {{0, 0.1, 0, 0.01}, {1, 0.1, 0, 0.01}, {2, 1, 0, 0.01}, {3, 0.3, 0, 1}};
    effort = VectorXd(2);
    effort << 0.02, 0.0002;
  }
  void step(const In& x, const In& u, VectorXd& next) const override {
    const double f = h * x[3], across = f * std::sin(u[0]);
    const double b = d + f * std::cos(u[0]) - std::sqrt(d * d - across * across);
    next << x[0] + b * std::cos(x[2]), x[1] + b * std::sin(x[2]), x[2] + std::asin(across / d), x[3] + h * u[1];
  }
  void jacobians(const In& x, const In& u, MatrixXd& A, MatrixXd& B) const override {
    const double f = h * x[3], sw = std::sin(u[0]), cw = std::cos(u[0]), s = std::sin(x[2]), c = std::cos(x[2]);
    const double across = f * sw, root = std::sqrt(d * d - across * across), b = d + f * cw - root;
    const double b_f = cw + across * sw / root, b_w = -f * sw + across * f * cw / root;
    A.setIdentity();
    A(0, 2) = -b * s;
    A(1, 2) = b * c;
    A(0, 3) = h * b_f * c;
    A(1, 3) = h * b_f * s;
    A(2, 3) = h * sw / root;
    B.setZero();
    B(0, 0) = b_w * c;
    B(1, 0) = b_w * s;
    B(2, 0) = f * cw / root;
    B(3, 1) = h;
  }
};

// One step of a problem, or its end, as Crocoddyl wants it.
class Action : public crocoddyl::ActionModelAbstractTpl<double> {
 public:
  typedef crocoddyl::ActionModelAbstractTpl<double> Base;
  typedef std::shared_ptr<ActionDataAbstract> Data;

  explicit Action(std::shared_ptr<const Problem> problem)
      : Base(std::make_shared<crocoddyl::StateVectorTpl<double>>(problem->n), problem->m), problem(problem) {
    if (problem->limits[0] > 0) {
      set_u_lb(-Eigen::Map<const VectorXd>(problem->limits, problem->m));
      set_u_ub(Eigen::Map<const VectorXd>(problem->limits, problem->m));
    }
  }
  void calc(const Data& data, const In& x, const In& u) override {
    problem->step(x, u, data->xnext);
    data->cost = value(problem->running, x) + 0.5 * problem->effort.dot(u.cwiseAbs2());
  }
  void calc(const Data& data, const In& x) override {
    data->cost = value(problem->running, x) + value(problem->last, x);
  }
  void calcDiff(const Data& data, const In& x, const In& u) override {
    problem->jacobians(x, u, data->Fx, data->Fu);
    data->Lx.setZero();
    data->Lxx.diagonal().setZero();
    derivatives(problem->running, x, data);
    data->Lu = problem->effort.cwiseProduct(u);
    data->Luu.diagonal() = problem->effort;
  }
  void calcDiff(const Data& data, const In& x) override {
    data->Lx.setZero();
    data->Lxx.diagonal().setZero();
    derivatives(problem->running, x, data);
    derivatives(problem->last, x, data);
  }
  std::shared_ptr<crocoddyl::ActionModelBase> cloneAsDouble() const override {
    return std::make_shared<Action>(*this);
  }
  std::shared_ptr<crocoddyl::ActionModelBase> cloneAsFloat() const override { std::abort(); }

 private:
  std::shared_ptr<const Problem> problem;

  static double value(const std::vector<Term>& terms, const In& x) {
    double sum = 0;
    for (const Term& term : terms) {
      const double e = x[term.entry] - term.target;
      sum += term.weight * (term.p > 0 ? std::sqrt(term.p * term.p + e * e) : 0.5 * e * e);
    }
    return sum;
  }
  static void derivatives(const std::vector<Term>& terms, const In& x, const Data& data) {
    for (const Term& term : terms) {
      const double e = x[term.entry] - term.target, root = std::sqrt(term.p * term.p + e * e);
      const bool rounded = term.p > 0;
      data->Lx[term.entry] += term.weight * (rounded ? e / root : e);
      data->Lxx(term.entry, term.entry) += term.weight * (rounded ? term.p * term.p / (root * root * root) : 1);
    }
  }
};

static std::shared_ptr<const Problem> problem(const char* name) {
  if (!std::strcmp(name, "pendulum")) return std::make_shared<Pendulum>();
  if (!std::strcmp(name, "cart-pole")) return std::make_shared<CartPole>();
  if (!std::strcmp(name, "acrobot")) return std::make_shared<Acrobot>();
  if (!std::strcmp(name, "quadrotor")) return std::make_shared<Quadrotor>();
  if (!std::strcmp(name, "car")) return std::make_shared<Car>();
  std::fprintf(stderr, "ilqr: there is no problem %s\n", name);
  std::exit(64);
}

// The largest difference between the Jacobians and central differences along a trajectory.
static double jacobianError(const Problem& p, const std::vector<VectorXd>& xs, const std::vector<VectorXd>& us) {
  MatrixXd A(p.n, p.n), B(p.n, p.m);
  VectorXd up(p.n), down(p.n);
  double worst = 0;
  for (int t = 0; t < p.T; ++t) {
    p.jacobians(xs[t], us[t], A, B);
    for (int j = 0; j < p.n + p.m; ++j) {
      VectorXd x = xs[t], u = us[t];
      double& moved = j < p.n ? x[j] : u[j - p.n];
      const double at = moved;
      moved = at + 1e-6;
      p.step(x, u, up);
      moved = at - 1e-6;
      p.step(x, u, down);
      const VectorXd column = j < p.n ? A.col(j) : B.col(j - p.n);
      worst = std::max(worst, ((up - down) / 2e-6 - column).cwiseAbs().maxCoeff());
    }
  }
  return worst;
}

template <typename Solver>
static void run(const char* name, const Problem& p, std::shared_ptr<crocoddyl::ShootingProblem> shooting,
                double tolerance, std::size_t most, int repetitions) {
  // The cost of u = ū + 0.1 sin(0.1 (i + 1) (t + 1)).
  std::vector<VectorXd> waves(p.T, p.u0), us(p.T, p.u0), xs(p.T + 1, p.x0), path(p.T + 1, p.x0);
  for (int t = 0; t < p.T; ++t)
    for (int i = 0; i < p.m; ++i) waves[t][i] += 0.1 * std::sin(0.1 * (i + 1) * (t + 1));
  shooting->rollout(waves, path);
  const double check = shooting->calc(path, waves);
  const double error = jacobianError(p, path, waves);
  shooting->rollout(us, xs);

  Solver solver(shooting);
  solver.set_th_stop(tolerance);
  std::vector<double> seconds;
  bool converged = false;
  for (int i = 0; i <= repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    converged = solver.solve(xs, us, most, true);
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    // The first one warms up.
    if (i > 0) seconds.push_back(spent.count() / (double)(solver.get_iter() + converged));
  }
  std::sort(seconds.begin(), seconds.end());
  std::printf(
      "{\"peer\": \"crocoddyl\", \"version\": \"%s\", \"case\": \"%s\", \"iterations\": %zu, \"cost\": %.15g, "
      "\"converged\": %d, \"median_s\": %.6g, \"min_s\": %.6g, \"reps\": %d, \"check\": %.15g, \"jacobian_error\": %.3g}\n",
      CROCODDYL_VERSION, name, solver.get_iter(), solver.get_cost(), converged, seconds[seconds.size() / 2], seconds[0],
      repetitions, check, error);
}

int main(int count, char** words) {
  if (count != 6 || std::atoi(words[5]) < 1) {
    std::fprintf(stderr, "usage: ilqr PROBLEM ddp|fddp TOLERANCE MAX_ITERATIONS REPETITIONS\n");
    return 64;
  }
  const auto p = problem(words[1]);
  const bool feasibility = !std::strcmp(words[2], "fddp"), limited = p->limits[0] > 0;
  const double tolerance = std::atof(words[3]);
  const std::size_t most = (std::size_t)std::atoi(words[4]);
  const int repetitions = std::atoi(words[5]);
  // Models and data of their own for every step, as in any problem of Crocoddyl's.
  std::vector<std::shared_ptr<crocoddyl::ActionModelAbstract>> models;
  for (int t = 0; t < p->T; ++t) models.push_back(std::make_shared<Action>(p));
  auto shooting = std::make_shared<crocoddyl::ShootingProblem>(p->x0, models, std::make_shared<Action>(p));
  if (limited && feasibility) run<crocoddyl::SolverBoxFDDP>(words[1], *p, shooting, tolerance, most, repetitions);
  else if (limited) run<crocoddyl::SolverBoxDDP>(words[1], *p, shooting, tolerance, most, repetitions);
  else if (feasibility) run<crocoddyl::SolverFDDP>(words[1], *p, shooting, tolerance, most, repetitions);
  else run<crocoddyl::SolverDDP>(words[1], *p, shooting, tolerance, most, repetitions);
  return 0;
}
