"""Riccati pass and marginals: NumPy, Crocoddyl, and HPIPM called from C. One thread, double precision.

riccati    gains, offsets and value function, and the trajectory from the mean initial state.
           Crocoddyl: its backward pass alone. HPIPM: "solve", which leaves the gains in its workspace (the initial
           state is free there, one more factorisation of size n), and "solve+gains", which reads them and the value
           function out.
marginals  mean and covariance of the states, and mean of the controls, under a controller with covariance 0.1 I.
"""

import os
import subprocess
import tempfile

import timing

parser = timing.parser(__doc__.splitlines()[0])
parser.add_argument("peer", choices=["numpy", "crocoddyl", "hpipm"])
parser.add_argument("--states", type=int, default=26)
parser.add_argument("--controls", type=int, default=7)
parser.add_argument("--horizon", type=int, default=100)
parser.add_argument("--program", default="", help="hpipm: the program made from hpipm.c")
arguments = parser.parse_args()

import numpy as np  # noqa: E402

import inputs  # noqa: E402

n, m, T = arguments.states, arguments.controls, arguments.horizon
sizes = dict(nx=n, nu=m, T=T)
p = inputs.linear_quadratic(n, m, T)


def norm(K, k):
    return np.sum(K**2) + np.sum(k**2)


def run_numpy():
    F, f, H, g = p["F"], p["f"], p["H"], p["g"]

    def backward():
        K, k = np.empty((T, m, n)), np.empty((T, m))
        V, v = np.empty((T + 1, n, n)), np.empty((T + 1, n))
        V[T], v[T] = p["Hf"], p["gf"]
        for t in range(T - 1, -1, -1):
            VF = V[t + 1] @ F[t]
            Q = H[t] + F[t].T @ VF
            q = g[t] + F[t].T @ (v[t + 1] + V[t + 1] @ f[t])
            solved = np.linalg.solve(Q[n:, n:], np.column_stack([Q[n:, :n], q[n:]]))
            K[t], k[t] = -solved[:, :n], -solved[:, n]
            Vt = Q[:n, :n] + Q[:n, n:] @ K[t]
            V[t], v[t] = 0.5 * (Vt + Vt.T), q[:n] + Q[:n, n:] @ k[t]
        return K, k, V, v

    def riccati():
        K, k, V, v = backward()
        x, u = np.empty((T + 1, n)), np.empty((T, m))
        x[0] = p["x0"]
        for t in range(T):
            u[t] = K[t] @ x[t] + k[t]
            x[t + 1] = F[t, :, :n] @ x[t] + F[t, :, n:] @ u[t] + f[t]
        return K, k

    def marginals(K, k):
        mu, S, u = np.empty((T + 1, n)), np.empty((T + 1, n, n)), np.empty((T, m))
        mu[0], S[0] = p["x0"], p["S0"]
        for t in range(T):
            A, B = F[t, :, :n], F[t, :, n:]
            u[t] = K[t] @ mu[t] + k[t]
            mu[t + 1] = A @ mu[t] + B @ u[t] + f[t]
            closed = A + B @ K[t]
            after = closed @ S[t] @ closed.T + B @ p["C"] @ B.T + p["W"]
            S[t + 1] = 0.5 * (after + after.T)
        return mu, S

    K, k, _, _ = backward()
    timing.emit("numpy", np.__version__, "lqr", "riccati", sizes, timing.measure(riccati, arguments), check=norm(K, k))
    mu, S = marginals(K, k)
    check = np.sum(mu**2) + np.trace(S, axis1=1, axis2=2).sum()
    samples = timing.measure(lambda: marginals(K, k), arguments)
    timing.emit("numpy", np.__version__, "lqr", "marginals", sizes, samples, check=check)


def run_crocoddyl():
    import crocoddyl

    F, H, g = p["F"], p["H"], p["g"]
    models = [
        crocoddyl.ActionModelLQR(
            F[t, :, :n], F[t, :, n:], H[t, :n, :n], H[t, n:, n:], H[t, :n, n:], p["f"][t], g[t, :n], g[t, n:]
        )
        for t in range(T)
    ]
    last = crocoddyl.ActionModelLQR(
        np.zeros((n, n)), np.zeros((n, m)), p["Hf"], np.eye(m), np.zeros((n, m)), np.zeros(n), p["gf"], np.zeros(m)
    )
    problem = crocoddyl.ShootingProblem(p["x0"], models, last)
    problem.nthreads = 1
    solver = crocoddyl.SolverFDDP(problem)
    solver.preg = solver.dreg = 0.0
    xs, us = [p["x0"]] * (T + 1), [np.zeros(m)] * T
    solver.setCandidate(xs, us, False)
    solver.computeDirection(True)
    K = -np.array(list(solver.K))
    k = np.array([u - offset + gain @ x for u, offset, gain, x in zip(us, solver.k, solver.K, xs)])
    samples = timing.measure(solver.backwardPass, arguments)
    timing.emit("crocoddyl", crocoddyl.__version__, "lqr", "riccati", sizes, samples, check=norm(K, k))


def run_hpipm():
    F, H, g = p["F"], p["H"], p["g"]
    with tempfile.TemporaryDirectory() as folder:
        problem, gains = os.path.join(folder, "problem"), os.path.join(folder, "gains")
        with open(problem, "wb") as file:
            file.write(np.array([n, m, T], dtype=np.int32).tobytes())
            for t in range(T):
                blocks = [F[t, :, :n], F[t, :, n:], p["f"][t], H[t, :n, :n], H[t, n:, :n], H[t, n:, n:]]
                for block in blocks + [g[t, :n], g[t, n:]]:
                    file.write(np.asarray(block).tobytes(order="F"))
            file.write(p["Hf"].tobytes(order="F") + p["gf"].tobytes())
        repetitions = str(arguments.repetitions or 0)
        command = [arguments.program, problem, gains, repetitions, str(arguments.budget)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        numbers = np.fromfile(gains).reshape(T, m * n + m)
        check = norm(numbers[:, : m * n], numbers[:, m * n :])
        for line in output.splitlines():
            case, *samples = line.split()
            name = "hpipm" if case == "solve" else "hpipm " + case
            timing.emit(name, "comma-deps-acados", "lqr", "riccati", sizes, [float(s) for s in samples], check=check)


try:
    dict(numpy=run_numpy, crocoddyl=run_crocoddyl, hpipm=run_hpipm)[arguments.peer]()
except Exception as error:  # noqa: BLE001
    timing.emit_failure(arguments.peer, "lqr", "riccati", sizes, error)
