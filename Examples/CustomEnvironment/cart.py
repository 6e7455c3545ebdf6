import gymnasium
import numpy as np


class Cart(gymnasium.Env):
    """A cart on a rail is to stand still at 0: place [m] and velocity [m/s], under a force [N]."""

    metadata = {"render_fps": 20}
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-2, 2, (1,))

    def __init__(self, mass=1.0):
        self.mass = mass

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.array([self.np_random.uniform(-1, 1), 0.0])
        return self.x.astype(np.float32), {}

    def step(self, action):
        velocity = self.x[1] + 0.05 * float(action[0]) / self.mass
        self.x = np.array([self.x[0] + 0.05 * velocity, velocity])
        reward = -(self.x[0] ** 2 + 0.1 * velocity**2 + 0.01 * float(action[0]) ** 2)
        return self.x.astype(np.float32), reward, bool(abs(self.x[0]) > 3), False, {}
