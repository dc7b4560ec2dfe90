"""The demo: a fictional municipality, family and partners, told over real HTTP. Nothing here runs in production."""
