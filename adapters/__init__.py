"""The systems of others. One file per way in or out; none knows consent, and none knows the gateway."""
