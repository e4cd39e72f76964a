"""What may run here, and whose it is: admission, policy, claims, trust."""
