"""The gateway: keeps, decides when, passes on. The only wiring, and the only reader of the clock."""
