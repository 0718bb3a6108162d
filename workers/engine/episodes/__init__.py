"""Episodes: rollouts in which the model acts several times, in an environment."""
