"""Dynamics fits with NumPy: the regression of Sources/Statistics/LinearGaussianRegression.swift, step by step.

fit                batched over all steps (no loop over steps), without a prior
fit_mixture_prior  with the prior of each step from a given mixture, in the loop that one would write first
"""

import timing

parser = timing.parser(__doc__.splitlines()[0])
parser.add_argument("--states", type=int, default=26)
parser.add_argument("--controls", type=int, default=7)
parser.add_argument("--horizon", type=int, default=100)
parser.add_argument("--samples", type=int, default=10)
parser.add_argument("--conditions", type=int, default=4)
parser.add_argument("--clusters", type=int, default=20)
arguments = parser.parse_args()

import numpy as np  # noqa: E402

import inputs  # noqa: E402

n, m, T, N, M, K = (
    arguments.states, arguments.controls, arguments.horizon, arguments.samples, arguments.conditions, arguments.clusters,
)  # fmt: skip
p, d = n + m, 2 * n + m
RIDGE, FLOOR, TINY = 1e-4, 1e-10, 1e-12  # regularization, covarianceFloor, and what keeps an input that never moves
points = inputs.dynamics_points(n, m, T, N, M)
sizes = dict(nx=n, nu=m, M=M, T=T, N=N)


def unwhiten(F, mean, C, center, scale):
    """Coefficients, offsets and covariances in the data's units, from whitened ones (any leading dimensions)."""
    F = scale[p:, None] * F / scale[:p]
    mean = center + scale * mean
    f = mean[..., p:] - (F @ mean[..., :p, None])[..., 0]
    return F, f, scale[p:, None] * C * scale[p:]


def regularize(S):
    S[..., range(p), range(p)] += RIDGE * S[..., range(p), range(p)] + TINY
    S[..., range(p, d), range(p, d)] += FLOOR


def condition(S):
    F = np.linalg.solve(S[..., :p, :p], S[..., :p, p:]).swapaxes(-1, -2)
    C = S[..., p:, p:] - F @ S[..., :p, p:]
    return F, 0.5 * (C + C.swapaxes(-1, -2))


def fit_batched():
    results = []
    for z in points:
        flat = z.reshape(-1, d)
        center, scale = flat.mean(axis=0), flat.std(axis=0)
        white = (z - center) / scale
        mean = white.mean(axis=1)
        gaps = white - mean[:, None]
        S = gaps.transpose(0, 2, 1) @ gaps / N
        regularize(S)
        results.append(unwhiten(condition(S)[0], mean, condition(S)[1], center, scale))
    return results


def fit_with_prior(priors):
    results = []
    for z, (center, scale, weights, means, covariances, factors, constants) in zip(points, priors):
        F_all, f_all, C_all = np.empty((T, n, p)), np.empty((T, n)), np.empty((T, n, n))
        for t in range(T):
            white = (z[t] - center) / scale
            logs = np.empty((N, K))
            for k in range(K):
                y = solve_triangular(factors[k], (white - means[k]).T, lower=True, check_finite=False)
                logs[:, k] = constants[k] - 0.5 * (y * y).sum(axis=0)
            shares = np.exp(logs - logsumexp(logs, axis=1, keepdims=True)).mean(axis=0)
            mu0 = shares @ means
            gaps = means - mu0
            Phi = np.tensordot(shares, covariances, 1) + (gaps * shares[:, None]).T @ gaps
            mean = white.mean(axis=0)
            X, shift = white - mean, mean - mu0
            S = (Phi + X.T @ X + N / (N + 1) * np.outer(shift, shift)) / (N + 1)
            regularize(S)
            F, C = condition(S)
            F_all[t], f_all[t], C_all[t] = unwhiten(F, mean, C, center, scale)
        results.append((F_all, f_all, C_all))
    return results


def norm(results):
    return sum(np.sum(F**2) for F, _, _ in results)


try:
    from scipy.linalg import solve_triangular
    from scipy.special import logsumexp

    samples = timing.measure(fit_batched, arguments)
    timing.emit(
        "numpy", np.__version__, "dynamics", "fit", sizes, samples, check=norm(fit_batched()), units=("fits", M * T)
    )
    priors = []
    for z in points:
        center, scale, weights, means, covariances = inputs.pooled_prior(z, K)
        factors = np.linalg.cholesky(covariances)
        constants = np.log(weights) - np.log(np.einsum("kii->ki", factors)).sum(axis=1) - 0.5 * d * np.log(2 * np.pi)
        priors.append((center, scale, weights, means, covariances, factors, constants))
    samples = timing.measure(lambda: fit_with_prior(priors), arguments)
    timing.emit(
        "numpy", np.__version__, "dynamics", "fit_mixture_prior", dict(sizes, K=K), samples,
        check=norm(fit_with_prior(priors)), units=("fits", M * T),
    )  # fmt: skip
except Exception as error:  # noqa: BLE001
    timing.emit_failure("numpy", "dynamics", "fit", sizes, error)
